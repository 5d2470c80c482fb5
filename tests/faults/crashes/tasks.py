"""The outside party of a saga that waits: it answers by a task of its own, which can be hit as any."""

from contextlib import suppress

from celery import shared_task
from django.db import close_old_connections

from sagas.exceptions import ActionNotAllowed
from sagas.models import SagaRun
from sagas.operations import complete_step, fail_step


ANSWER = "crashes.answer"


@shared_task(name=ANSWER, ignore_result=True)
def answer(run_id: str, handler: str, result: str | None, denied: bool) -> None:  # noqa: FBT001
    """Say what came of the request; that it was said before is no error."""
    close_old_connections()
    run = SagaRun.objects.get(pk=run_id)
    with suppress(ActionNotAllowed):
        if denied:
            fail_step(run, handler, error="denied", code="REFUSED", reason="asked")
        else:
            complete_step(run, handler, result=result, reason="asked")
