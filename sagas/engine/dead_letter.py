"""A saga that cannot go on by itself: it waits for a human, or for its next automatic retry."""

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from sagas.engine import decisions, transitions
from sagas.states import EventType, SagaState


FIRST_AUTO_RETRY = timedelta(seconds=10)
"""Doubled for each further one."""


def dead_letter(
    change: transitions.RunChange,
    *,
    note: str,
    step: str,
    code: str | None = None,
    for_a_human: bool = False,
    **columns: Any,
) -> None:
    """Make the run a dead letter because of ``step``.

    ``code`` is what it failed with, if that is not what the run had failed with before.
    ``Meta.auto_retry`` times it will be retried by itself; after the last it is ``poisoned``. Not so
    one that is ``for_a_human`` to decide, because nobody knows whether a step happened.
    """
    run = change.run
    allowed = 0 if for_a_human else run.plan.auto_retry
    retries_itself = run.auto_retry_count < allowed
    if retries_itself:
        columns["auto_retry_at"] = Now() + FIRST_AUTO_RETRY * 2**run.auto_retry_count
    if code is None:
        code = run.error_code
    else:
        columns["error_code"] = code
    transitions.move_run(
        change,
        SagaState.DEAD_LETTER,
        EventType.DEAD_LETTERED,
        note=note,
        fingerprint=decisions.fingerprint(run.label, step, code, note),
        poisoned=bool(allowed) and not retries_itself,
        **columns,
    )
    if allowed and not retries_itself:
        transitions.record_event(
            change,
            EventType.POISONED,
            f"automatic retries exhausted after {run.auto_retry_count} attempts",
        )
