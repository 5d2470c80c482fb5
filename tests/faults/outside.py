"""The outside party of the crash matrix: it answers what waits, until it is heard."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from celery import current_app

from sagas.conf import saga_settings
from sagas.models import SagaRun, StepRun
from sagas.states import StepState
from tests.faults.crashes.sagas import Outside
from tests.faults.crashes.tasks import ANSWER


if TYPE_CHECKING:
    from uuid import UUID


AGAIN_AFTER_SECONDS = 2.0
"""As a sender of webhooks does: whoever died with the answer in hand is asked to take it once more."""


class OutsideParty:
    """Whoever the sagas of a matrix wait for."""

    def __init__(self) -> None:
        self._spoke: dict[UUID, float] = {}

    def answer(self, runs: Iterable[SagaRun]) -> None:
        """Answer every wait of these runs that has not been answered a moment ago."""
        waiting = StepRun.objects.filter(run__in=runs, state=StepState.WAITING)
        for step in waiting.select_related("run"):
            outside = (step.run.input or {}).get("outside")
            spoke = self._spoke.get(step.pk, -AGAIN_AFTER_SECONDS)
            if outside == Outside.SILENT or time.monotonic() - spoke < AGAIN_AFTER_SECONDS:
                continue
            self._spoke[step.pk] = time.monotonic()
            result = None if step.is_backward else step.name
            current_app.send_task(
                ANSWER,
                args=(str(step.run_id), step.handler, result, outside == Outside.DENIES),
                queue=saga_settings().STEP_QUEUE,
            )
