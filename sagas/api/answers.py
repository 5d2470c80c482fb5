"""``POST hooks/<token>/``: an outside party answers the request that it was given a token for.

Whatever comes is hostile until the signature is checked, which costs no query.
"""

from typing import Any, Literal

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from pydantic import BaseModel, ConfigDict, ValidationError

from sagas.conf import saga_settings
from sagas.definitions.tokens import BadSignature, Request, read_answer_token
from sagas.exceptions import (
    ActionNotAllowed,
    PayloadError,
    PayloadTooLarge,
    TransactionLocked,
    UnknownHandler,
    UnknownSaga,
)
from sagas.models import SagaRun, StepRun
from sagas.operations import complete_step, fail_step
from sagas.operations.results import loaded_result
from sagas.states import TURNED_BACK_SAGAS


RETRY_AFTER_SECONDS = 5

ENVELOPE_BYTES = 16 * 1024
"""Of a body, besides the result."""


class Answer(BaseModel):
    """The body of the request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    status: Literal["succeeded", "failed"]
    result: Any = None
    error: str = "the outside party said that it failed"
    code: str = "FAILED_OUTSIDE"


@csrf_exempt
@require_POST
@transaction.non_atomic_requests  # what is answered with 200 is committed
def answer(request: HttpRequest, token: str) -> HttpResponse:
    """Take an answer; see ``docs/waiting.md`` for every status."""
    try:
        named = read_answer_token(token)
    except BadSignature:
        return _refusal(403, "FORGED", "this address was not given out here")
    body = _body(request)
    if body is None:
        return _refusal(413, PayloadTooLarge.code, "the body is too large")
    try:
        said = Answer.model_validate_json(body)
    except ValidationError as error:
        return _refusal(400, PayloadError.code, _complaint(error))
    step = (
        StepRun.objects.select_related("run").defer("run__input").filter(pk=named.step_id).first()
    )
    if step is None:
        return _refusal(404, "UNKNOWN_REQUEST", "there is no such request, or not any more")
    return _deliver(step, named, said, actor=f"webhook {request.META.get('REMOTE_ADDR', '')}")


def _body(request: HttpRequest) -> bytes | None:
    """Return the body; None when it is too large, of which no more is read than that shows."""
    limit = saga_settings().MAX_PAYLOAD_BYTES + ENVELOPE_BYTES
    body: bytes = request.read(limit + 1)
    return body if len(body) <= limit else None


def _complaint(error: ValidationError) -> str:
    """Say what does not fit, without quoting it."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(map(str, found[0]["loc"])) or "body"
    return f"{where[:100]}: {found[0]['msg']}"


def _deliver(step: StepRun, named: Request, said: Answer, *, actor: str) -> HttpResponse:
    try:
        run = _say(step, named, said, actor=actor)
    except PayloadTooLarge as error:
        return _refusal(413, error.code, str(error))
    except PayloadError as error:
        return _refusal(400, error.code, str(error))
    except (TransactionLocked, UnknownSaga, UnknownHandler):
        response = _refusal(503, "BUSY", "nothing was changed; try again in a moment")
        response["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    except ActionNotAllowed:
        # Why not is told to operators: what became of a saga is not the outside party's business.
        return _refusal(409, "LATE", "it has another answer, or is not waited for any more")
    if said.status == "succeeded" and not step.is_backward and run.state in TURNED_BACK_SAGAS:
        return JsonResponse({"answer": "late"}, status=202)
    return JsonResponse({"answer": "taken"})


def _say(step: StepRun, named: Request, said: Answer, *, actor: str) -> SagaRun:
    """Give the answer as an operator would, by the id of the row: no name could mean another one."""
    run, name = step.run, str(step.pk)
    if said.status == "failed":
        return fail_step(
            run,
            name,
            error=said.error,
            code=said.code,
            request=named.fence,
            reason="webhook",
            actor=actor,
        )
    return complete_step(
        run,
        name,
        result=_result(step, said.result),
        request=named.fence,
        reason="webhook",
        actor=actor,
    )


def _result(step: StepRun, data: object) -> object:
    if not step.is_backward:
        return loaded_result(step.run, step, data)
    if data is not None:
        raise PayloadError("result: a compensation has none; leave it out")
    return None


def _refusal(status: int, code: str, error: str) -> HttpResponse:
    return JsonResponse({"code": code, "error": error}, status=status)
