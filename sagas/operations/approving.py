"""``approve_step`` and ``reject_step``: a person decides, who has the permission that the step asks for."""

from collections.abc import Sequence
from typing import Any, NoReturn

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser

from sagas.definitions.approval import ANSWER_PERMISSION
from sagas.engine import advance, transitions
from sagas.engine.decisions import Failed, Succeeded
from sagas.exceptions import ActionNotPermitted
from sagas.models import SagaRun, StepRun
from sagas.operations.addressing import BY_ROW
from sagas.operations.operating import operating_on_step, reloaded
from sagas.operations.predicates import Steps
from sagas.operations.requests import require_request
from sagas.operations.results import is_same_result, refuse_result_of_undo, result_as_json
from sagas.operations.verbs import Refused, StepVerb, entered
from sagas.payloads import truncate_error
from sagas.states import StepState


REJECTED = "REJECTED"
"""The code of a step that a person rejected."""

EYES = 2
"""How many different people approve a step with ``four_eyes``."""

Person = AbstractBaseUser | str
"""A user of the project, or the name by which that one logs in."""


def approve_step(
    run: SagaRun,
    name: str,
    *,
    reason: str,
    actor: Person,
    result: Any = None,
    request: int | None = None,
) -> SagaRun:
    """Approve a step that waits for it, with ``result``, a value of the step's result type.

    ``actor`` is the person, whose permission is looked up. With ``four_eyes`` the first approval is kept,
    and the second, of somebody else with the same result, lets the saga go on. ``name`` and ``request``
    as for :func:`~sagas.operations.complete_step`.

    Raises:
        ActionNotAllowed: the step waits for no approval, this person has approved before, the results
            differ, or ``reason`` is empty.
        ActionNotPermitted: the person is unknown or inactive, or has not the step's permission.
        PayloadError: ``result`` is not of the step's result type.
        UnknownSaga, UnknownHandler: this code cannot tell what type that is.
    """
    with operating_on_step(run, APPROVE_STEP, name) as (change, step):
        _require_asked(step, request, reason)
        user = _permitted(change.run, step, APPROVE_STEP, actor)
        refuse_result_of_undo(step, result)
        output = None if step.is_backward else result_as_json(change.run, step, result)
        _refuse_second(change.run, step, user, output)
        who: dict[str, str] = {"note": truncate_error(reason), "actor": user.get_username()}
        approval = {"user": str(user.pk), "name": user.get_username(), "output": output}
        transitions.keep_approval(change, step, approval, **who)
        if len(approvals_of(step)) >= approvals_needed(step):
            advance.apply_outcome(change, step, Succeeded(output=output), **who)
    return reloaded(run)


def reject_step(
    run: SagaRun, name: str, *, reason: str, actor: Person, request: int | None = None
) -> SagaRun:
    """Reject a step that waits to be approved: it failed with the code ``REJECTED``.

    One person suffices, whoever has approved it. The saga turns back, unless it can do without the step.

    Raises:
        ActionNotAllowed: the step waits for no approval, or ``reason`` is empty.
        ActionNotPermitted: the person is unknown or inactive, or has not the step's permission.
    """
    with operating_on_step(run, REJECT_STEP, name) as (change, step):
        _require_asked(step, request, reason)
        user = _permitted(change.run, step, REJECT_STEP, actor)
        error = truncate_error(f"rejected by {user.get_username()}: {reason}")
        outcome = Failed(code=REJECTED, error=error, definite=True)
        who: dict[str, str] = {"note": truncate_error(reason), "actor": user.get_username()}
        advance.apply_outcome(change, step, outcome, **who)
    return reloaded(run)


def approvals_of(step: StepRun) -> Sequence[dict[str, Any]]:
    """Return the approvals that were given so far, each with ``name``, ``user`` and ``output``."""
    given: Sequence[dict[str, Any]] = step.wait_terms.get("approvals", ())
    return given


def approvals_needed(step: StepRun) -> int:
    """Return how many people are to approve a step."""
    return EYES if step.wait_terms.get("four_eyes") else 1


def may_decide(step: StepRun, person: Person) -> bool:
    """Whether a person has the permission that the step asks for, and is active."""
    user = _user(person)
    return user is not None and user.has_perm(APPROVE_STEP.permission_for(step))


def _refusal(_run: SagaRun, _steps: Steps, step: StepRun) -> str | None:
    if step.state == StepState.WAITING and step.is_approval:
        return None
    return f"{step} is {step.state}, and waits for no approval"


APPROVE_STEP = entered(
    StepVerb(
        name="approve_step",
        help="approve a step that waits for it, as --actor, with --result",
        permission=ANSWER_PERMISSION,
        operation=approve_step,
        refusal=_refusal,
        naming=BY_ROW,
        takes_result=True,
        by_person=True,
    )
)
REJECT_STEP = entered(
    StepVerb(
        name="reject_step",
        help="reject a step that waits to be approved, as --actor",
        permission=ANSWER_PERMISSION,
        operation=reject_step,
        refusal=_refusal,
        naming=BY_ROW,
        by_person=True,
    )
)


def _require_asked(step: StepRun, request: int | None, reason: str) -> None:
    if request is not None and request != step.fence:
        require_request(step, request, succeeded=False)
    if not reason.strip():
        raise Refused("whoever decides says why: a reason is needed")


def _permitted(run: SagaRun, step: StepRun, verb: StepVerb, actor: Person) -> Any:
    """Return the user who acts."""
    user, permission = _user(actor), verb.permission_for(step)

    def refuse(why: str) -> NoReturn:
        facts = {"run_id": run.pk, "action": verb.name, "permission": permission}
        raise ActionNotPermitted(f"{verb.name} {step} of {run}: {why}", actor=str(actor), **facts)

    if user is None:
        refuse(f"there is no active user {str(actor)!r}")
    if not user.has_perm(permission):
        refuse(f"{user.get_username()} has not the permission {permission}")
    return user


def _user(person: Person) -> Any:
    """Return the active user who is meant, as the database has that one; None when there is none."""
    users = get_user_model()._default_manager  # noqa: SLF001 documented by Django
    if isinstance(person, str):
        found = users.filter(**{get_user_model().USERNAME_FIELD: person}).first()
    else:
        found = users.filter(pk=person.pk).first()
    return found if found is not None and found.is_active else None


def _refuse_second(run: SagaRun, step: StepRun, user: Any, output: object) -> None:
    """Refuse who approved before, and who approves something else than the one before."""
    for approval in approvals_of(step):
        if approval["user"] == str(user.pk):
            raise Refused(
                f"{user.get_username()} has approved it; somebody else is to approve it too"
            )
        if not step.is_backward and not is_same_result(run, step, approval["output"], output):
            raise Refused(f"{approval['name']} approved it with another result")
