"""``rewind``: a saga goes back to one of its steps, and forward again from there.

What depends on that step is undone with it, the latest first; what does not, stands.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sagas.definitions import SagaDefinition, registry
from sagas.engine import compensate, decisions, transitions
from sagas.engine.declared import refuse_newer, saga_of
from sagas.exceptions import IdempotencyRequired, UnknownSaga
from sagas.models import SagaRun, StepRun
from sagas.operations.addressing import BY_PRESENT_STEP
from sagas.operations.operating import operating_on_step, reloaded
from sagas.operations.predicates import Steps, is_undoing
from sagas.operations.replanning import inputs_anew, require_same_inputs
from sagas.operations.verbs import Refused, StepVerb, entered
from sagas.payloads import annotation_name, truncate_error
from sagas.states import REWINDABLE_SAGAS, UNSTARTED_STEPS, SagaState, StepState


_PAST_PIVOT = "it is past its point of no return, or may be"


def rewind_saga(
    run: SagaRun,
    to: str,
    *,
    input: Any = None,  # noqa: A002
    reason: str,
    actor: str = "",
) -> SagaRun:
    """Undo a step and all that depends on it, and go forward again from there.

    What is undone is undone as in any turning back, in the same order, and the promise is the same: only
    when all of it is, the saga goes forward. Then these steps run anew, with fresh idempotency keys and a
    fresh deadline; with ``input``, a value of the saga's input type, if the old one was wrong. What does
    not depend on the step stands: what of it runs may end, and what waits goes on waiting.

    Raises:
        ActionNotAllowed: the saga turns back, is closed, or may be past its point of no return; the step
            has not begun, or something that depends on it can no longer be undone; or ``input`` would
            give the saga another key, or its ``plan()`` other steps.
        PayloadError, PayloadTooLarge: ``input`` does not fit its type or the limit.
        UnknownSaga, NewerVersion: this code cannot tell what type that is.
    """
    with operating_on_step(run, REWIND, to) as (change, step):
        steps = list(StepRun.objects.filter(run_id=run.pk))
        rewound = rewound_steps(steps, step)
        entry = {"to": step.name, **_corrected(change.run, input, steps, rewound)}
        transitions.begin_rewind(change, rewound, entry)
        _require_before_pivot(change.run)
        transitions.release_holds(step for step in rewound if step.plan.holds_unknown)
        compensate.turn_back(
            change,
            outcome_when_undone=SagaState.RUNNING,
            code="REWIND",
            error=truncate_error(reason),
            actor=actor,
        )
    return reloaded(run)


def rewound_steps(steps: Iterable[StepRun], to: StepRun) -> list[StepRun]:
    """Return the steps that a rewind to ``to`` undoes, in the order in which they were declared."""
    present = [step for step in steps if not (step.is_past or step.is_backward)]
    return decisions.dependents(present, to)


def input_from_json(run: SagaRun, data: object) -> object:
    """Return an input of the run's saga from plain JSON data, as :func:`rewind_saga` takes it.

    Raises:
        PayloadError: the data is not of that type.
        UnknownSaga: this code cannot tell what type that is.
    """
    definition = registry.get(run.label).definition
    loaded: object = definition.input_codec.load(data, what=f"the input of {run.label}")
    return loaded


def input_type(run: SagaRun) -> str:
    """Name the type of the input of the run's saga, for whoever is to type one in.

    Raises:
        UnknownSaga: this code cannot tell.
    """
    return annotation_name(registry.get(run.label).definition.input_codec.annotation)


def _require_before_pivot(run: SagaRun) -> None:
    """Refuse when a worker claimed the pivot until just now: beside a rewind it would not be waited for."""
    if decisions.may_be_past_pivot(run, StepRun.objects.filter(run_id=run.pk), begun_counts=True):
        raise Refused(_PAST_PIVOT)


def _corrected(
    run: SagaRun, value: Any, steps: Sequence[StepRun], rewound: Sequence[StepRun]
) -> dict[str, Any]:
    """Return the input to come, and what it changes in the tags and in the inputs of steps."""
    if value is None:
        return {"input": run.input, "version": run.version, "tags": {}, "inputs": {}}
    definition: SagaDefinition = registry.get(run.label).definition
    what = f"the input of {run.label}"
    data, value = definition.input_codec.normalise(value, what=what)
    refuse_newer(run)
    before = definition.load_input(run.input, version=run.version)
    if _key(definition, value) != _key(definition, before):
        raise Refused(
            f"that input belongs to another key, {_key(definition, value)!r}: start a saga of its own"
        )
    inputs = inputs_anew(run, definition, value, steps)
    require_same_inputs((step for step in steps if step not in rewound), inputs)
    old, new = definition.tags_for(before), definition.tags_for(value)
    return {
        "input": data,
        "version": definition.version,
        "tags": {name: tag for name, tag in new.items() if tag != old.get(name)},
        "inputs": inputs,
    }


def _key(definition: SagaDefinition, value: object) -> str | None:
    try:
        return definition.key_for(value)
    except IdempotencyRequired:
        return None


def _refusal(run: SagaRun, steps: Steps, to: StepRun) -> str | None:
    if run.state not in REWINDABLE_SAGAS:
        *some, last = sorted(REWINDABLE_SAGAS)
        return f"it is neither {', '.join(some)} nor {last}"
    if run.is_rewinding or is_undoing(steps):
        return "it has begun to undo"
    if decisions.may_be_past_pivot(run, steps, begun_counts=True):
        return _PAST_PIVOT
    if to.is_past or to.is_backward:
        return f"{to} is of an earlier life of the saga, or a compensation"
    if not has_begun(to):
        return f"{to} has not begun, so there is nothing to undo: rewind to a step before it"
    return _refusal_of_trace(run, to) or _refusal_by_others(steps, to)


def _refusal_of_trace(run: SagaRun, step: StepRun) -> str | None:
    try:
        of_trace = saga_of(run, step).definition.is_of_event
    except UnknownSaga:
        of_trace = False
    if not of_trace:
        return None
    return "its reactions would publish once more what others have reacted to: publish anew instead"


def has_begun(step: StepRun) -> bool:
    """Whether an attempt of it was made, or it was settled without one."""
    waits = step.state in UNSTARTED_STEPS or step.state == StepState.CANCELLED
    return bool(step.attempt) or step.in_doubt or not waits


def _refusal_by_others(steps: Steps, to: StepRun) -> str | None:
    """Refuse what would be done twice, and to go on beside what a human is to decide first."""
    forward = [step for step in steps if not step.is_backward]
    exempt, held = compensate.exempt(forward), compensate.held(forward)
    if not (exempt or held):
        return None
    rewound = rewound_steps(steps, to)
    twice = ", ".join(step.name for step in exempt if step in rewound)
    if twice:
        return f"{twice} can no longer be undone, and would be done twice"
    unknown = ", ".join(step.name for step in held if step not in rewound)
    return (
        f"nobody knows whether {unknown} happened: say so by skip_step first" if unknown else None
    )


REWIND = entered(
    StepVerb(
        name="rewind",
        help="undo a step and what depends on it, and go forward again, with --input or the same",
        permission="sagas.rewind_sagarun",
        operation=rewind_saga,
        refusal=_refusal,
        naming=BY_PRESENT_STEP,
        takes_input=True,
    )
)
