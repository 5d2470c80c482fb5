"""The last net: an active saga of which nothing is ready, running or waiting goes on all the same.

No change of ours leaves one behind, so whatever is found here is told as a warning: a bug, rows that
were changed by hand, a backup that was restored in the middle. What is to be done next is worked out
anew from the rows; if that finds no way, the saga is a human's.
"""

import logging
from datetime import timedelta
from uuid import UUID

from django.db import Error
from django.db.models.functions import Now

from sagas.engine import compensate, dead_letter, dispatch, forward, transitions
from sagas.engine.one_by_one import OneByOne
from sagas.models import SagaRun
from sagas.states import ACTIVE_SAGAS, EventType, SagaState


logger = logging.getLogger("sagas.recover")

STALLED = "STALLED"
"""The code of a saga that could not go on even so."""

SETTLED_FOR = timedelta(seconds=10)
"""A saga that changed since then is left alone."""

WINDOW = 5_000
"""How many active sagas are looked at in one round; the next round goes on behind them."""

_stalled: OneByOne[SagaRun] = OneByOne("going on with what stalled")


class Search:
    """Goes through the active sagas, a window in each round."""

    def __init__(self) -> None:
        """Begin with the oldest."""
        self._after = UUID(int=0)

    def settle(self, limit: int) -> int:
        """Go on with sagas that stalled. Returns with how many."""
        active = SagaRun.objects.active().filter(pk__gt=self._after).order_by("pk")
        end = active.values_list("pk", flat=True)[WINDOW - 1 : WINDOW].first()
        here = active if end is None else active.filter(pk__lte=end)
        before = Now() - SETTLED_FOR
        found = here.stalled().filter(updated_at__lt=before).exclude(pk__in=_stalled.passed_over())
        rows = list(found.order_by("pk")[:limit])
        if len(rows) < limit:
            self._after = UUID(int=0) if end is None else end
        return _stalled.each(rows, _go_on)


def _go_on(found: SagaRun) -> bool:
    try:
        return _settle(found)
    except Error:
        raise
    except Exception as error:
        logger.exception("saga %s stalled, and its rows lead nowhere", found.pk)
        return _leave_to_human(found, error)


def _settle(found: SagaRun) -> bool:
    with transitions.change(found.pk) as change:
        if not _is_stalled(found):
            return False
        note = f"nothing was ready, running or waiting while the saga was {change.run.state}"
        transitions.record_event(change, EventType.STALLED, note)
        if change.run.state == SagaState.RUNNING:
            forward.resume_forward(change)
        else:
            compensate.begin_undo_if_idle(change)
        if change.run.state in ACTIVE_SAGAS and _is_stalled(found):
            dead_letter.dead_letter(change, note=note, step="", code=STALLED, error=note)
        dispatch.send_on_commit(change.run, change.made_ready)
    facts = {"action": "stalled", "saga_id": str(found.pk)}
    text = "saga %s (%s) had stalled: %s; it is %s now"
    logger.warning(text, found.pk, found, note, change.run.state, extra=facts)
    return True


def _leave_to_human(found: SagaRun, error: Exception) -> bool:
    with transitions.change(found.pk) as change:
        if not _is_stalled(found):
            return False
        note = f"the saga stalled and cannot go on by itself: {type(error).__name__}: {error}"
        transitions.record_event(change, EventType.STALLED, note)
        dead_letter.dead_letter(change, note=note, step="", code=STALLED, error=note)
    return True


def _is_stalled(run: SagaRun) -> bool:
    return SagaRun.objects.stalled().filter(pk=run.pk).exists()
