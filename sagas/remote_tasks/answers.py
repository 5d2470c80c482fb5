"""An answer enters its saga: a result, or that there is none."""

import logging
from collections.abc import Callable
from uuid import UUID

from sagas.engine.decisions import Reported
from sagas.engine.declared import definition_of, refuse_newer
from sagas.engine.remote_calls import task_id_of
from sagas.exceptions import ActionNotAllowed, PayloadError
from sagas.models import StepRun
from sagas.operations import complete_step
from sagas.operations.reporting import report_failure, report_unstorable
from sagas.payloads import text_of
from sagas.remote_tasks.failures import judged, what_failed


logger = logging.getLogger("sagas.remote")


def task_succeeded(step_id: UUID, request: int, result: object) -> str:
    """Record that a remote task returned ``result``; return what came of that, in a word or a code.

    A result that does not fit its type leaves doubt: the step happened, and nobody has its result.

    Raises:
        UnknownSaga, UnknownHandler, NewerVersion: this code cannot tell; that of another worker may.
        TransactionLocked: another transaction kept the saga's lock.
    """
    step = _step(step_id)
    if step is None:
        return "purged"
    try:
        typed = None if step.is_backward else _typed(step, result)
    except PayloadError as error:
        unstorable = Reported(code=error.code, error=text_of(error), in_doubt=True)
        facts = {"action": "result_not_stored", "step_id": str(step_id)}
        logger.warning("%s", error, extra=facts)
        return _taken(step, unstorable.code, lambda: report_unstorable(step, request, unstorable))

    def complete() -> None:
        complete_step(
            step.run, str(step.pk), result=typed, request=request, reason=_words(step, "returned")
        )

    return _taken(step, "succeeded", complete)


def task_failed(step_id: UUID, request: int) -> str:
    """Record what can be known of a remote task that did not return; return a word or a code.

    Raises:
        UnknownSaga, UnknownHandler, NewerVersion, TransactionLocked: as :func:`task_succeeded`.
    """
    step = _step(step_id)
    if step is None:
        return "purged"
    refuse_newer(step.run)
    definition = definition_of(step.run, step)
    undo = definition.compensation if step.is_backward else None
    error = what_failed(task_id_of(step_id, request))
    failure = judged(error, (undo or definition).options, must_happen=step.is_backward)
    reason = _words(step, "did not return")
    return _taken(step, failure.code, lambda: report_failure(step, request, failure, reason))


def _step(step_id: UUID) -> StepRun | None:
    return StepRun.objects.select_related("run").filter(pk=step_id).first()


def _typed(step: StepRun, result: object) -> object:
    refuse_newer(step.run)
    definition = definition_of(step.run, step)
    what = f"the result of {step.name} of {step.run.label}"
    typed = definition.result_from(result, what=what)
    definition.result_codec.dump(typed, what=what)  # it may be too large
    return typed


def _words(step: StepRun, what: str) -> str:
    return f"the remote task of {step} {what}"


def _taken(step: StepRun, word: str, record: Callable[[], None]) -> str:
    """Return ``word``, or that it is no news: it came twice, or somebody has decided otherwise."""
    try:
        record()
    except ActionNotAllowed as refused:
        facts = {"action": "remote_answer_refused", "step_id": str(step.pk)}
        logger.info("%s: %s", word, refused, extra=facts)
        return "no news"
    return word
