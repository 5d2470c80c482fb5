"""The lives of a step: a rewind ends one, and another begins in a row of its own.

The row of the life that ended keeps its key and its result, because an attempt of it may still say its
word. The new row has a fresh key, so that what is done anew is not taken for what was undone.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from sagas.engine.declared import definition_of
from sagas.engine.transitions.change import RunChange
from sagas.engine.transitions.compensation import RELEASED
from sagas.exceptions import UnknownHandler, UnknownSaga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.models.steps import BEING_REWOUND
from sagas.states import EventType, StepState


def begin_rewind(change: RunChange, steps: Iterable[StepRun], entry: dict[str, Any]) -> None:
    """Say that a rewind undoes these forward steps, and lets the others stand.

    ``entry`` is what ``rewinds`` says of it: ``to``, and the ``input`` (with its ``version``), the ``tags`` and the ``inputs`` of steps
    that are to come.
    The fence of what is ready is raised, because a claim does not take the run's lock: one that began
    before this change then no longer finds its row.
    """
    marked = StepRun.objects.filter(pk__in=[step.pk for step in steps])
    marked.update(rewind=BEING_REWOUND, updated_at=Now())
    run = change.run
    run.rewind_to, run.rewinds = entry["to"], [*run.rewound, entry]
    SagaRun.objects.filter(pk=run.pk).update(rewind_to=run.rewind_to, rewinds=run.rewinds)
    beside = StepRun.objects.filter(run_id=run.pk, rewind__isnull=True)
    beside.filter(state=StepState.READY).update(fence=F("fence") + 1, updated_at=Now())


def give_up_rewind(change: RunChange) -> None:
    """The run does not go forward again: all of it is undone, as if no rewind had begun."""
    run = change.run
    if run.rewind_to:
        run.rewind_to, run.rewinds = "", run.rewound[:-1] or None
        columns = {"rewind_to": run.rewind_to, "rewinds": run.rewinds}
        SagaRun.objects.filter(pk=run.pk).update(**columns)
        _marked(run).update(rewind=None, updated_at=Now())


def begin_new_lives(change: RunChange) -> dict[str, Any]:
    """End the lives that a rewind has undone, and begin new ones. Returns columns of the run.

    A step that no attempt was made of keeps its row and its key.
    """
    run = change.run
    number = len(run.rewound)
    rewound = list(_marked(run))
    begun = set(_claims(run))
    ended = [step for step in rewound if step.state != StepState.CANCELLED or step.pk in begun]
    names = [step.name for step in ended]
    undo = list(StepRun.objects.backward().present().filter(run_id=run.pk, name__in=names))
    lives = {str(step.pk): _new_life(run, step, key=f"{run.pk}/{number + 1}") for step in ended}
    _bind_anew(lives, run.rewound[-1]["inputs"])
    for row in [*ended, *undo]:
        _end_life(row, number)
    _marked(run).update(rewind=None, updated_at=Now())
    StepRun.objects.bulk_create(lives.values())
    _lead_to(lives, run)
    *before, last = run.rewound
    replaced = SagaRun.objects.values("input", "version").get(pk=run.pk)
    run.rewinds = [*before, {"to": last["to"], **replaced}]
    return {
        "input": last["input"],
        "version": last["version"],
        "tags": {**run.tags, **last["tags"]},
        "rewinds": run.rewinds,
        "rewind_to": "",
    }


def _marked(run: SagaRun) -> Any:
    return StepRun.objects.filter(run_id=run.pk, rewind=BEING_REWOUND)


def _claims(run: SagaRun) -> Any:
    """Return the ids of the steps that an attempt was made of: no count in the rows survives a retry."""
    claims = SagaEvent.objects.filter(run_id=run.pk, type=EventType.STEP_CLAIMED)
    return claims.values_list("step_id", flat=True)


def _end_life(row: StepRun, number: int) -> None:
    # Whether it happened is no question to a human any more: it is undone in any case.
    released = {"on_unknown": RELEASED} if row.plan.holds_unknown else {}
    options = {**row.options, **released, "declared": row.declared}
    if row.plan.compensation is not None:
        options["compensation"] = {**row.plan.compensation, "declared": row.declared}
    StepRun.objects.filter(pk=row.pk).update(
        name=f"{row.name}~{number}", rewind=number, options=options, updated_at=Now()
    )


def _new_life(run: SagaRun, step: StepRun, *, key: str) -> StepRun:
    held = {"on_unknown": "hold"} if step.plan.on_unknown == RELEASED else {}
    try:
        detached = not definition_of(run, step).wait
    except (UnknownSaga, UnknownHandler):
        detached = step.detached
    return StepRun(
        run_id=step.run_id,
        name=step.name,
        direction=step.direction,
        position=step.position,
        handler=step.handler,
        compensation=step.compensation,
        successors=step.successors,
        in_place=step.in_place,
        # A request is named by the fence of the attempt that made it, in whatever life.
        fence=step.fence,
        pivot=step.pivot,
        critical=step.critical,
        detached=detached,
        options={**step.options, **held},
        timeout=step.timeout,
        input=step.input if step.plan.bound else None,
        idempotency_key=f"{key}:{step.name}",
    )


def _bind_anew(lives: dict[str, StepRun], inputs: dict[str, Any]) -> None:
    """Give steps the inputs that a corrected input of the saga binds to them."""
    for pk, value in inputs.items():
        if pk in lives:
            lives[pk].input = value
        else:
            StepRun.objects.filter(pk=pk).update(input=value, updated_at=Now())


def _lead_to(lives: dict[str, StepRun], run: SagaRun) -> None:
    """Let what leads to a life that ended lead to the new one."""
    for row in StepRun.objects.forward().present().filter(run_id=run.pk):
        following: Sequence[str] = [
            str(lives[pk].pk) if pk in lives else pk for pk in row.successors
        ]
        if following != row.successors:
            StepRun.objects.filter(pk=row.pk).update(successors=following, updated_at=Now())
