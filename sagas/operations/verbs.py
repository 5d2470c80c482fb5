"""The table of the operator's verbs: what each is called, needs and does, and the one rule for it.

A verb is written beside the function that does it, and entered here. The admin, the command line and
whoever else offers verbs read this table; so does every refusal, which names what is allowed instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sagas.models import SagaRun, StepRun
from sagas.operations.predicates import Steps


class Refused(Exception):
    """The verb cannot be done now: the text says why, as what follows "because"."""


class RunOperation(Protocol):
    """A public function that does a verb to a run, and returns the run as it is then."""

    def __call__(self, run: SagaRun, /, *, reason: str, actor: str) -> SagaRun:
        """Raises a SagaError, such as ActionNotAllowed, that says why it cannot be done."""


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How the steps of a run are named to a verb."""

    find: Callable[[SagaRun, Steps, str], StepRun]
    """Return the row that a name means, or raise :class:`Refused`."""

    name_of: Callable[[StepRun], str]
    """Return a name that means just this row."""

    help: str


@dataclass(frozen=True, kw_only=True)
class RunVerb:
    """What an operator can do to a run."""

    name: str
    """As errors, addresses and, with hyphens, the command line spell it."""

    help: str
    """One line for the command line."""

    permission: str
    operation: RunOperation

    refusal: Callable[[SagaRun, Steps], str | None]
    """Say why the run does not allow it now; None when it does."""

    undoes: bool = False
    """Whether it has steps undone, which can be previewed."""

    def is_offered(self, run: SagaRun, steps: Steps) -> bool:
        """Whether the run allows it now."""
        return self.refusal(run, steps) is None


@dataclass(frozen=True, kw_only=True)
class StepVerb:
    """What an operator can do to a step of a run, or to the compensation of one."""

    name: str
    """As errors, addresses and, with hyphens, the command line spell it."""

    help: str
    """One line for the command line."""

    permission: str
    """Of the verb; a step that is to be approved names its own, see :meth:`permission_for`."""

    operation: Callable[..., SagaRun]
    """Takes the run, the name of the step, ``reason``, ``actor``, and what ``takes_…`` says."""

    refusal: Callable[[SagaRun, Steps, StepRun], str | None]
    """Say why the run or this step of it does not allow it now; None when they do."""

    naming: Naming

    takes_result: bool = False
    """``result``: what the step returned. It may be left out."""

    takes_error: bool = False
    """``error``, and ``code`` if there is one."""

    takes_input: bool = False
    """``input``: another one for the saga. It may be left out."""

    by_person: bool = False
    """``actor`` is a user of the project, whose permission is asked for, or the name of one."""

    only_if: Callable[[StepRun], bool] | None = None
    """Of which steps an operator is asked for it, if it is accepted of others besides."""

    def permission_for(self, step: StepRun) -> str:
        """Return the permission that doing it to this step needs."""
        own = step.wait_terms.get("permission") if self.by_person else None
        return self.permission if own is None else str(own)

    def is_offered(self, run: SagaRun, steps: Steps, step: StepRun) -> bool:
        """Whether the run and the step allow it now, and somebody may want it."""
        wanted = self.only_if is None or self.only_if(step)
        return wanted and self.refusal(run, steps, step) is None


V = TypeVar("V", bound=RunVerb | StepVerb)

VERBS: dict[str, RunVerb | StepVerb] = {}
"""Every verb, by its name; complete as soon as :mod:`sagas.operations` is imported."""


def entered(verb: V) -> V:
    """Enter a verb into the table, and return it."""
    VERBS[verb.name] = verb
    return verb


def run_verbs() -> list[RunVerb]:
    """Return what can be done to a run."""
    return [verb for verb in VERBS.values() if isinstance(verb, RunVerb)]


def step_verbs() -> list[StepVerb]:
    """Return what can be done to a step."""
    return [verb for verb in VERBS.values() if isinstance(verb, StepVerb)]
