"""Receivers of ``sagas.signals`` are told of starts and ends, after the commit that made them so.

Where nobody listens, nothing is kept, asked or sent.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import DatabaseError, transaction
from django.dispatch import Signal

from sagas.definitions import registry
from sagas.engine.database import saga_database
from sagas.exceptions import UnknownSaga
from sagas.models import SagaRun
from sagas.signals import saga_finished, saga_started
from sagas.states import FINAL_SAGAS, SagaState


logger = logging.getLogger("sagas")


class Announcement(NamedTuple):
    """A change of a run that somebody listens for."""

    signal: Signal
    sender: Any
    run_id: Any
    state: SagaState


def announcement_of(run: SagaRun, from_state: str, to_state: str) -> Announcement | None:
    """Return what is to be told of a run that moved; None when it is nothing, or nobody listens."""
    if not from_state and to_state == SagaState.RUNNING:
        signal = saga_started
    elif to_state in FINAL_SAGAS:
        signal = saga_finished
    else:
        return None
    sender = _saga(run.label) if signal.receivers else None
    if not signal.has_listeners(sender):
        return None
    return Announcement(signal, sender, run.pk, SagaState(to_state))


def announce_on_commit(announcements: Sequence[Announcement]) -> None:
    """Send the signals when the current transaction has committed."""
    if not announcements:
        return

    # Django names a failed robust hook by its __qualname__, which a partial has not.
    def announce() -> None:
        _announce(announcements)

    transaction.on_commit(announce, using=saga_database(), robust=True)


def _announce(announcements: Sequence[Announcement]) -> None:
    try:
        runs = SagaRun.objects.in_bulk([each.run_id for each in announcements])
    except DatabaseError:
        logger.exception("signals not sent", extra={"action": "signals_not_sent"})
        return
    for each in announcements:
        if each.run_id in runs:
            each.signal.send_robust(sender=each.sender, run=runs[each.run_id], state=each.state)


def _saga(label: str) -> Any:
    try:
        return registry.get(label)
    except UnknownSaga:
        return None
