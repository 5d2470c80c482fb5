"""Run a saga in this process: each ready row is executed as a message would have it done."""

from django.db.models.functions import Now

from sagas.engine import child_ends, dispatch
from sagas.engine.execute import execute
from sagas.models import SagaRun, StepRun
from sagas.models.steps import GOES_ITS_WAY
from sagas.states import StepState


def run_saga(run: SagaRun, *, limit: int = 500) -> SagaRun:
    """Execute the steps of a run, and of its children, until nothing is ready; return the run as it stands.

    That is when it is final, a dead letter, paused, or waits for an outside party. Nobody waits for
    a retry: its delay is skipped. What becomes ready meanwhile is sent to no broker, neither now nor
    by ``captureOnCommitCallbacks(execute=True)`` later. To be called outside a transaction, but for the one that a ``TestCase`` opens around every test.

    Raises:
        AssertionError: after ``limit`` attempts something is still ready.
    """
    with dispatch.nothing_is_sent():
        return execute_ready(run, limit=limit)


def execute_ready(run: SagaRun, *, limit: int = 500, skip_delays: bool = True) -> SagaRun:
    """Execute what is ready until nothing is; messages are sent as ever.

    A step that waits for the code of another release, as one whose handler was removed, is left so.
    """
    left: set[object] = set()
    begun = 0
    while begun < limit:
        family = _family(run)
        if skip_delays:
            ready_later = StepRun.objects.filter(state=StepState.READY, due_at__gt=Now())
            ready_later.filter(run__in=family).update(due_at=Now())
        ready = [step for each in family for step in ready_steps(each) if step.pk not in left]
        if not ready and any(child_ends.tell_parent(each.pk) for each in family[1:]):
            continue
        if not ready:
            return SagaRun.objects.get(pk=run.pk)
        # One, and then what is ready is looked at again; of thousands, one in a hundred at a time.
        for step in ready[: 1 + len(ready) // 100]:
            begun += 1
            execute(step.pk, step.fence)
            attempts = StepRun.objects.filter(pk=step.pk, state=StepState.READY)
            if attempts.filter(attempt=step.attempt, fence__gt=step.fence).exists():
                left.add(step.pk)
    run.refresh_from_db()
    message = f"still ready steps after {limit} attempts: {run.explain()}"
    raise AssertionError(message)


def _family(run: SagaRun) -> list[SagaRun]:
    """Return the run, its children, and theirs."""
    return [run] + [each for child in run.children for each in _family(child)]


def ready_steps(run: SagaRun) -> list[StepRun]:
    """Return what could be claimed now, in order."""
    ready = StepRun.objects.filter(run=run, state=StepState.READY, due_at__lte=Now())
    return list(ready.filter(GOES_ITS_WAY, run__paused_at=None))
