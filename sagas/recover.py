"""What no callback told us: lost messages, dead attempts, passed deadlines.

The sweep needs no operator and no beat: every worker runs it about once a second. It reads small
batches by partial indexes, and every change that it makes is one that any other process may win.
"""

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import close_old_connections, connections, transaction
from django.db.models import DurationField, Exists, ExpressionWrapper, F
from django.db.models.functions import Now

from sagas import advance, backlog, deadlines, dispatch, pooling, resume, transitions
from sagas.conf import saga_settings
from sagas.database import saga_database
from sagas.definitions import registry
from sagas.exceptions import ExecutionTimeout, UnknownHandler, UnknownSaga
from sagas.logs import Outage
from sagas.models import SagaRun, StepRun, SweepRecord
from sagas.states import SagaState


logger = logging.getLogger("sagas.recover")


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
    skipped: bool = False
    """Another process swept in this interval."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.sent + self.lost + self.expired + self.retried


def sweep(*, worker: str = "", force: bool = True) -> SweepReport:
    """Sweep once. Safe to run in any number of processes at a time.

    ``force=False`` leaves it to another process that swept less than an interval ago.
    """
    conf = saga_settings()
    interval = timedelta(seconds=0 if force else conf.SWEEP_INTERVAL_SECONDS)
    if not transitions.begin_sweep(interval, worker):
        return SweepReport(skipped=True)
    lost = end_lost_attempts(conf.SWEEP_BATCH)
    expired = turn_back_expired(conf.SWEEP_BATCH)
    retried = retry_dead_letters(conf.SWEEP_BATCH)
    sent = send_due(conf.SWEEP_BATCH)
    return SweepReport(sent=sent, lost=lost, expired=expired, retried=retried)


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


def send_due(limit: int) -> int:
    """Send the messages of ready steps that are due, or were sent and not claimed. Returns how many."""
    with transaction.atomic(using=saga_database()):
        due = StepRun.objects.unsent(Now()).select_related("run")
        steps = list(due.select_for_update(skip_locked=True, of=("self",))[:limit])
        queued = backlog.still_queued(steps)
        # Asked about again soon, for the queue may be lost at any time; or, when they are so many
        # that they would keep a sweep from what else is due, at intervals that double.
        delay_of = _doubled if len(steps) == limit else _grace
        for delay, ids in _by_delay((step for step in steps if step.pk in queued), delay_of):
            transitions.leave_queued(ids, longer=delay)
        unsent = [step for step in steps if step.pk not in queued]
        _put_off(unsent)
        for step in unsent:
            _tell_if_unknown(step)
    return _send(unsent)


def resend(step_id: UUID) -> bool:
    """Send again what waits in the run of this step; True when there was something."""
    with transaction.atomic(using=saga_database()):
        of_run = StepRun.objects.filter(pk=step_id).values("run_id")
        ready = list(StepRun.objects.unsent(Now()).filter(run_id__in=of_run).select_related("run"))
        _put_off(ready)
    return bool(_send(ready))


def _send(steps: list[StepRun]) -> int:
    """Send now; what the broker did not take is tried again soon, not when its age says so."""
    unsent = [step.pk for step in steps if not dispatch.send(step.run, step)]
    if unsent:
        pause = timedelta(seconds=saga_settings().BROKER_PAUSE_SECONDS)
        transitions.mark_sent(unsent, again_in=pause)
    return len(steps) - len(unsent)


def suspect(step_id: UUID, fence: int) -> bool:
    """An error callback came: shorten the lease of the attempt, if it still has one.

    If it has none, its process died before the claim, or after the outcome and before the send:
    what is ready in this run is sent by the next sweep, instead of after its grace.
    """
    return transitions.shorten_lease(step_id, fence) or transitions.hurry(step_id)


def give_up_attempts_of(process: str) -> int:
    """A worker process is known to be dead: nobody renews its leases, so they end now."""
    return transitions.end_leases_of(process)


def _put_off(steps: list[StepRun]) -> None:
    """Choose when each is sent again, if nobody claims it by then.

    A message may just be waiting in a long queue; sending it every few seconds would only make
    that queue longer. So the interval doubles with the age, within bounds, unless the queue is empty.
    """
    empty: dict[str, bool] = {}

    def delay_of(step: StepRun) -> float:
        delay = _doubled(step)
        if delay > saga_settings().RESEND_SECONDS:
            queue = dispatch.queue_of(step)
            if queue not in empty:
                empty[queue] = dispatch.is_empty(queue)
            delay = saga_settings().RESEND_SECONDS if empty[queue] else delay
        return delay

    for delay, ids in _by_delay(steps, delay_of):
        transitions.mark_sent(ids, again_in=delay)


def _by_delay(
    steps: Iterable[StepRun], delay_of: Callable[[StepRun], float]
) -> Iterable[tuple[timedelta, list[UUID]]]:
    found: dict[float, list[UUID]] = defaultdict(list)
    for step in steps:
        found[delay_of(step)].append(step.pk)
    return [(timedelta(seconds=delay), ids) for delay, ids in found.items()]


def _grace(_: StepRun) -> float:
    return saga_settings().RESEND_SECONDS


def _doubled(step: StepRun) -> float:
    conf = saga_settings()
    assert step.send_at is not None  # noqa: S101 the row's check constraint
    assert step.due_at is not None  # noqa: S101
    age = (step.send_at - step.due_at).total_seconds()
    delay = conf.RESEND_SECONDS
    while delay < conf.RESEND_MAX_SECONDS and age >= delay:
        delay *= 2
    return min(delay, conf.RESEND_MAX_SECONDS)


def _tell_if_unknown(step: StepRun) -> None:
    """Say it in the row when this deployment has no handler; another worker may have it."""
    try:
        registry.get(step.run.label).definition.step(step.name)
    except (UnknownHandler, UnknownSaga) as error:
        transitions.tell_unknown_handler(step, error)


def end_lost_attempts(limit: int) -> int:
    """Give up attempts whose lease ran out. Returns how many this process won.

    None while the last sweep began long ago: then this process, or all of them, stood still in it.
    """
    stood_still = SweepRecord.objects.filter(swept_at__lt=Now() - transitions.longest_silence())
    lost = list(StepRun.objects.lost(Now()).exclude(Exists(stood_still))[:limit])
    return sum(advance.end_lost_attempt(step) for step in lost)


def retry_dead_letters(limit: int) -> int:
    """Retry dead letters whose ``Meta.auto_retry`` says so. Returns how many this process won."""
    due = SagaRun.objects.filter(
        state=SagaState.DEAD_LETTER, auto_retry_at__lte=Now(), paused_at__isnull=True
    )
    return sum(_retry(run_id) for run_id in due.values_list("pk", flat=True)[:limit])


def _retry(run_id: UUID) -> bool:
    with transitions.change(run_id) as change:
        run = change.run
        if run.state != SagaState.DEAD_LETTER or run.auto_retry_at is None or run.paused_at:
            return False
        resume.resume(
            change,
            note="automatic retry",
            actor="auto_retry",
            auto_retry_count=F("auto_retry_count") + 1,
        )
        dispatch.send_on_commit(change.run, change.made_ready)
    return True


def turn_back_expired(limit: int) -> int:
    """End runs past their deadline: most turn back. Returns how many this process won."""
    expired = SagaRun.objects.past_deadline(Now()).order_by("deadline")
    return sum(_expire(run_id) for run_id in expired.values_list("pk", flat=True)[:limit])


def _expire(run_id: UUID) -> bool:
    with transitions.change(run_id) as change:
        run = change.run
        age = ExpressionWrapper(Now() - F("created_at"), output_field=DurationField())
        late = SagaRun.objects.past_deadline(Now()).filter(pk=run_id).values_list(age, flat=True)
        elapsed = late.first()
        if elapsed is None:
            return False
        allowed = run.deadline - run.created_at
        error = ExecutionTimeout(
            f"the saga ran past its deadline of {allowed.total_seconds():.0f} s,"
            f" {elapsed.total_seconds():.0f} s after its start",
            run_id=run_id,
            deadline_ms=allowed // timedelta(milliseconds=1),
            elapsed_ms=elapsed // timedelta(milliseconds=1),
        )
        deadlines.end(change, error)
        dispatch.send_on_commit(run, change.made_ready)
    return True
