"""The point of no return: passed, or perhaps. ``run.pivot_passed`` says that it is known to be."""

from collections.abc import Iterable
from typing import Protocol

from sagas.states import IN_FLIGHT_STEPS, MAY_HAVE_HAPPENED


class Run(Protocol):
    """What is asked of a run; a :class:`~sagas.models.SagaRun` has it."""

    @property
    def pivot_passed(self) -> bool:
        """Whether its pivot succeeded, or counts as passed."""


class Step(Protocol):
    """What is asked of a step; a :class:`~sagas.models.StepRun` has it."""

    @property
    def state(self) -> str:
        """Where it stands."""

    @property
    def in_doubt(self) -> bool:
        """Whether an attempt may have taken effect, whatever the state is."""

    @property
    def is_irreversible(self) -> bool:
        """Whether it is the pivot, or stands behind it."""


def may_be_past_pivot(run: Run, steps: Iterable[Step], *, begun_counts: bool = False) -> bool:
    """Whether the point of no return was passed, or may have been.

    Also by a step behind it, which nothing undoes; it may be that the pivot itself was skipped.
    ``begun_counts``: so does a step that has begun, and may pass it while this is asked. That is the
    question of who would turn the saga back now; a saga that has turned back asks when nothing is in
    flight any more.
    """
    return run.pivot_passed or any(
        may_have_passed(step.state, is_irreversible=step.is_irreversible)
        or (begun_counts and step.is_irreversible and _has_begun(step))
        for step in steps
    )


def may_have_passed(state: str, *, is_irreversible: bool) -> bool:
    """Whether a step that ended in ``state`` leaves no way back, or may not."""
    return is_irreversible and state in MAY_HAVE_HAPPENED


def _has_begun(step: Step) -> bool:
    return step.in_doubt or step.state in IN_FLIGHT_STEPS
