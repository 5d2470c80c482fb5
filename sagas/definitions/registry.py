"""Every declared saga, by label."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import ClassVar, Generic, Protocol, TypeVar

from django.apps import apps

from sagas.definitions.definition import SagaDefinition
from sagas.exceptions import UnknownSaga


class DeclaredSaga(Protocol):
    """A class that has a definition."""

    definition: ClassVar[SagaDefinition]


C = TypeVar("C", bound=type[DeclaredSaga])


class SagaRegistry(Generic[C]):
    """The sagas of this process, in the order of their declaration."""

    def __init__(self) -> None:
        """Begin empty."""
        self._sagas: dict[str, C] = {}
        self._by_label: dict[str, C] | None = None

    def register(self, saga: C) -> None:
        """Add a saga; a class of the same module and name was imported again, and is replaced."""
        self._sagas[f"{saga.__module__}.{saga.__qualname__}"] = saga
        self._by_label = None

    def get(self, label: str) -> C:
        """Return a saga by its label.

        Raises:
            UnknownSaga: no app declares it; the message names close matches.
        """
        index = self._index()
        try:
            return index[label]
        except KeyError:
            close = get_close_matches(label, index, n=3)
            known = f"did you mean {', '.join(close)}?" if close else "no label is close to it."
            message = (
                f"no saga is labelled {label!r} in <app>/sagas.py of the installed apps; {known}"
            )
            raise UnknownSaga(message, label=label) from None

    def declared_as(self, path: str) -> C | None:
        """Return what was declared last under this module and name, if anything was."""
        return self._sagas.get(path)

    def all(self) -> list[C]:
        """Return every saga, in the order of declaration."""
        return list(self._sagas.values())

    def duplicates(self) -> dict[str, list[C]]:
        """Return the labels that more than one saga has, with these sagas."""
        found: dict[str, list[C]] = {}
        for saga in self._sagas.values():
            found.setdefault(saga.definition.label, []).append(saga)
        return {label: sagas for label, sagas in found.items() if len(sagas) > 1}

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """For tests: sagas declared inside are forgotten at the end."""
        kept = dict(self._sagas)
        try:
            yield
        finally:
            self._sagas = kept
            self._by_label = None

    def _index(self) -> dict[str, C]:
        if self._by_label is not None:
            return self._by_label
        index: dict[str, C] = {}
        for saga in self._sagas.values():
            index.setdefault(saga.definition.label, saga)
        if apps.apps_ready:
            # Before that, labels that come from an app are not final.
            self._by_label = index
        return index
