"""The ``celery-saga`` package, used as its README shows: the builder, and state in a Redis."""

import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from celery import Celery
from celery_saga import Saga, StepResponse, saga_step, set_default_backend
from celery_saga.backends import RedisSagaBackend

from benchmarks.speed.applications import ledger
from benchmarks.speed.applications.client import obey


app = Celery("celery_saga")
app.conf.update(
    broker_url=os.environ["SPEED_BROKER"],
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
)
set_default_backend(RedisSagaBackend(url=os.environ["SPEED_STATE"]))


def declare(name: str, act: Callable[[str], None]) -> Any:
    """Return the task of a step, after registering its compensation."""

    def undo(compensation_data: dict[str, Any]) -> None: ...

    def perform(batch: str) -> StepResponse:
        act(batch)
        return StepResponse(output={}, compensation_data={})

    app.task(name=f"undo_{name}")(undo)
    return saga_step(compensate=f"undo_{name}")(app.task(name=name)(perform))


def nothing(batch: str) -> None: ...


order_saga = Saga("order_saga")
order_saga.add_step(declare("reserve", ledger.began))
for step in ("charge", "pack", "ship"):
    order_saga.add_step(declare(step, nothing))
order_saga.add_step(declare("notify", ledger.ended))


if __name__ == "__main__":
    obey(lambda batch: order_saga.run(idempotency_key=uuid4().hex, batch=batch))
