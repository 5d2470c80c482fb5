"""What no callback told us: lost messages, dead attempts, passed deadlines.

The sweep needs no operator and no beat: every worker runs it about once a second. It reads small
batches by partial indexes, and every change that it makes is one that any other process may win.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import close_old_connections, connections
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now
from django.db.models.lookups import GreaterThan

from sagas.conf import saga_settings
from sagas.engine import (
    advance,
    child_ends,
    deadlines,
    dispatch,
    pooling,
    retry_dead_letter,
    transitions,
)
from sagas.engine import stalled as stalled_sagas
from sagas.engine.one_by_one import OneByOne
from sagas.engine.resend import note_discarded, resend, send_due, take_up_discarded
from sagas.exceptions import ExecutionTimeout
from sagas.logs import Outage
from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.states import SagaState


__all__ = [
    "SweepReport",
    "end_lost_attempts",
    "give_up_attempts_of",
    "note_discarded",
    "resend",
    "retry_dead_letters",
    "send_due",
    "suspect",
    "sweep",
    "sweep_forever",
    "turn_back_expired",
]

logger = logging.getLogger("sagas.recover")

_turns = transitions.SweepTurns()
_search = stalled_sagas.Search()
_lost: OneByOne[StepRun] = OneByOne("giving up the attempt")
_expired: OneByOne[SagaRun] = OneByOne("turning back at the deadline")
_retried: OneByOne[SagaRun] = OneByOne("the automatic retry")
_owed: OneByOne[SagaRun] = OneByOne("telling the parent")


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """How many rows a sweep moved."""

    sent: int = 0
    """Messages sent (again)."""
    lost: int = 0
    """Attempts given up because their lease ran out."""
    expired: int = 0
    """Runs ended because their deadline passed."""
    retried: int = 0
    """Dead letters retried by themselves."""
    stalled: int = 0
    """Sagas of which nothing was ready or in flight, and which go on again."""
    told: int = 0
    """Ends of child sagas that their parents were told of."""
    skipped: bool = False
    """Another process swept in this interval."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.sent + self.lost + self.expired + self.retried + self.stalled + self.told


def sweep(*, worker: str = "", force: bool = True) -> SweepReport:
    """Sweep once. Safe to run in any number of processes at a time.

    ``force=False`` leaves it to another process that swept less than an interval ago.
    """
    conf = saga_settings()
    interval = timedelta(seconds=0 if force else conf.SWEEP_INTERVAL_SECONDS)
    turn = _turns.begin(interval, worker)
    if turn is None:
        return SweepReport(skipped=True)
    lost = end_lost_attempts(conf.SWEEP_BATCH, turn.began)
    expired = turn_back_expired(conf.SWEEP_BATCH)
    retried = retry_dead_letters(conf.SWEEP_BATCH)
    stalled = _search.settle(conf.SWEEP_BATCH) if turn.looks else 0
    told = tell_parents(conf.SWEEP_BATCH)
    sent = send_due(conf.SWEEP_BATCH)
    return SweepReport(
        sent=sent, lost=lost, expired=expired, retried=retried, stalled=stalled, told=told
    )


def sweep_forever(
    interval: float,
    stop: threading.Event,
    *,
    worker: str = "",
    gate: AbstractContextManager[None] | None = None,
    first: Callable[[], None] = lambda: None,
) -> None:
    """Sweep every ``interval`` seconds until ``stop`` is set. Outlives a database that is away.

    Each round runs inside ``gate`` and calls ``first`` before it sweeps. Its connection lives as long
    as ``CONN_MAX_AGE`` lets any other.
    """
    outage = Outage(logger, "sweep", "sweep")
    while not stop.wait(interval):
        with gate or nullcontext():
            try:
                close_old_connections()
                first()
                take_up_discarded()
                sweep(worker=worker, force=False)
                pooling.give_back()
                outage.over()
            except Exception as error:  # noqa: BLE001 the next round tries again
                outage.failed(error)
                _close_connections()
    _close_connections()


def _close_connections() -> None:
    with suppress(Exception):
        connections.close_all()


def suspect(step_id: UUID, fence: int) -> bool:
    """An error callback came: shorten the lease of the attempt, if it still has one.

    If it has none, its process died before the claim, or after the outcome and before the send:
    what is ready in this run is sent by the next sweep, instead of after its grace.
    """
    return transitions.shorten_lease(step_id, fence) or transitions.send_soon(step_id)


def give_up_attempts_of(process: str) -> int:
    """A worker process is known to be dead: nobody renews its leases, so they end now."""
    return transitions.end_leases_of(process)


def end_lost_attempts(limit: int, began: datetime | None = None) -> int:
    """Give up attempts whose lease ran out. Returns how many this process won.

    None when the sweep ``began`` long ago, or by default the last one of all: then this process, or
    all of them, stood still in it.
    """
    if began is None:
        began = SweepRecord.objects.values_list("swept_at", flat=True).first()
    lost = StepRun.objects.lost(Now()).exclude(pk__in=_lost.passed_over())
    in_time = lost.filter(_moves_since(began)).select_related("run")
    return _lost.each(list(in_time[:limit]), partial(_end_lost, began))


def _end_lost(began: datetime | None, step: StepRun) -> bool:
    return advance.end_lost_attempt(step, _moves_since(began))


def _moves_since(began: datetime | None) -> Q:
    """Whether a sweep that began then did not stand still, or everything with it."""
    if began is None:
        return Q()
    still = Value(began, output_field=DateTimeField())
    return Q(GreaterThan(still, Now() - transitions.max_sweep_gap()))


def tell_parents(limit: int) -> int:
    """Tell the parents of children that ended, where nobody did. Returns how many this process told."""
    owed = SagaRun.objects.filter(owes_parent=True).exclude(pk__in=_owed.passed_over())
    return _owed.each(list(owed.only("pk").order_by("pk")[:limit]), _tell)


def _tell(child: SagaRun) -> bool:
    return child_ends.tell_parent(child.pk)


def retry_dead_letters(limit: int) -> int:
    """Retry dead letters whose ``Meta.auto_retry`` says so. Returns how many this process won."""
    due = SagaRun.objects.filter(
        state=SagaState.DEAD_LETTER, auto_retry_at__lte=Now(), paused_at__isnull=True
    )
    return _retried.each(list(due.exclude(pk__in=_retried.passed_over())[:limit]), _retry)


def _retry(due: SagaRun) -> bool:
    with transitions.change(due.pk) as change:
        run = change.run
        if run.state != SagaState.DEAD_LETTER or run.auto_retry_at is None or run.paused_at:
            return False
        retry_dead_letter.resume(
            change,
            note="automatic retry",
            actor="auto_retry",
            auto_retry_count=F("auto_retry_count") + 1,
        )
        dispatch.send_on_commit(change.run, change.made_ready)
    return True


def turn_back_expired(limit: int) -> int:
    """End runs past their deadline: most turn back. Returns how many this process won."""
    expired = SagaRun.objects.past_deadline(Now()).exclude(pk__in=_expired.passed_over())
    return _expired.each(list(expired.order_by("deadline")[:limit]), _expire)


def _expire(expired: SagaRun) -> bool:
    with transitions.change(expired.pk) as change:
        run = change.run
        age = ExpressionWrapper(Now() - F("created_at"), output_field=DurationField())
        late = SagaRun.objects.past_deadline(Now()).filter(pk=run.pk).values_list(age, flat=True)
        elapsed = late.first()
        if elapsed is None:
            return False
        allowed = run.deadline - run.created_at
        error = ExecutionTimeout(
            f"the saga ran past its deadline of {allowed.total_seconds():.0f} s,"
            f" {elapsed.total_seconds():.0f} s after its start",
            run_id=run.pk,
            deadline_ms=allowed // timedelta(milliseconds=1),
            elapsed_ms=elapsed // timedelta(milliseconds=1),
        )
        deadlines.end(change, error)
        dispatch.send_on_commit(run, change.made_ready)
    return True
