"""A Celery task of another code base: its name, where it goes, and the arguments that it is given."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from types import MappingProxyType
from typing import Any

from sagas.definitions.annotations import codec_of, result_annotation
from sagas.definitions.handler_form import place_of
from sagas.definitions.rules import TEXT, is_text
from sagas.exceptions import PayloadError, SagaDefinitionError
from sagas.payloads import Codec


REFUSED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "atomic": "what another code base does is in no transaction of ours",
        "heartbeat_timeout": "nothing of it beats here; time_limit says how long it may be silent",
        "rate_limit": "its own workers keep it: declare it where the task is",
        "soft_time_limit": "it interrupts a handler, and this one only waits; time_limit ends the wait",
    }
)
"""Options that mean nothing for a step that another code base does, each with the reason."""


def refuse_options(given: Mapping[str, object], *, place: str) -> None:
    """Refuse what says nothing of a remote task.

    Raises:
        SagaDefinitionError: naming ``place``, the option and the reason.
    """
    for name, reason in REFUSED_OPTIONS.items():
        if name in given:
            raise SagaDefinitionError(f"{place}: {name} is not for a remote task: {reason}.")


def without_refused(defaults: Mapping[str, object]) -> Mapping[str, object]:
    """Return the defaults of a saga that a remote step of it takes part in."""
    return {name: value for name, value in defaults.items() if name not in REFUSED_OPTIONS}


@dataclass(frozen=True, kw_only=True, eq=False)
class RemoteTask:
    """What is sent to whom; ``method`` of the saga returns the arguments."""

    name: str
    queue: str
    priority: int | None
    method: Callable[..., object]

    @classmethod
    def declared(
        cls, name: object, queue: object, priority: Any, method: Callable[..., object]
    ) -> "RemoteTask":
        """Return the task, if it can be sent.

        Raises:
            SagaDefinitionError: name or queue is no text.
        """
        place = place_of(method)
        for what, value in (("the name of the task", name), ("queue", queue)):
            if not is_text(value):
                message = f"{place}: {what} must be {TEXT.expects}, not {value!r}."
                raise SagaDefinitionError(message)
        return cls(name=str(name), queue=str(queue), priority=priority, method=method)

    @cached_property
    def codec(self) -> Codec[Any]:
        """What carries the arguments to JSON.

        Raises:
            SagaDefinitionError: the annotation of what the method returns is missing, cannot be
                stored, or is neither a mapping nor a list.
        """
        place = place_of(self.method)
        codec = codec_of(result_annotation(self.method, place=place), what=f"What {place} returns")
        if codec.json_types() & {"boolean", "integer", "number", "string"}:
            message = (
                f"{place} returns {codec.name}; return the arguments of the task: a dict,"
                " TypedDict, dataclass or model by their names, a list or tuple by position,"
                " or None for none."
            )
            raise SagaDefinitionError(message)
        return codec

    def arguments(self, value: object) -> tuple[list[Any], dict[str, Any]]:
        """Return what the method returned as positional and named arguments, as JSON data.

        Raises:
            PayloadError: they do not fit the annotation, or JSON cannot carry them.
        """
        what = f"the arguments of {self.name}"
        data = self.codec.dump(value, what=what)
        if isinstance(data, dict):
            return [], data
        if isinstance(data, list):
            return data, {}
        if data is None:
            return [], {}
        raise PayloadError(f"{what} are neither a mapping nor a list")


def asking(task: RemoteTask, result: Any) -> Callable[..., Any]:
    """Return the handler of a remote step: given the arguments, it asks; ``result`` annotates the answer."""

    @wraps(task.method)
    def ask(saga: Any, arguments: object) -> Any:
        return saga.call_remote(task, arguments)

    own = {"arguments": task.method.__annotations__.get("return"), "return": result}
    if "return" not in task.method.__annotations__:
        del own["arguments"]
    return _with_form(ask, own)


def asking_to_undo(task: RemoteTask) -> Callable[..., None]:
    """Return the handler of a remote compensation: it has the arguments made, and asks."""

    @wraps(task.method)
    def ask(saga: Any, result: object) -> None:
        saga.call_remote(task, task.method(saga, result))

    own = {**task.method.__annotations__, "return": None}
    (_, name) = inspect.signature(task.method).parameters
    return _with_form(ask, own, parameter=name)


def _with_form(
    handler: Callable[..., Any], annotations: dict[str, Any], parameter: str = "arguments"
) -> Callable[..., Any]:
    handler.__annotations__ = annotations
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", parameter)]
    handler.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return handler
