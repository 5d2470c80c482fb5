"""The ``celery-saga`` package, used as its README shows: the builder, and state in a Redis.

That Redis is not the broker: no fault is inflicted on it.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import Celery
from celery_saga import PermanentFailure, Saga, StepResponse, saga_step, set_default_backend
from celery_saga.backends import RedisSagaBackend

from benchmarks.faults import handlers
from benchmarks.faults.rivals.configuration import RETRY, STATE_VARIABLE, configuration
from benchmarks.faults.wishes import STEPS, Wish


app = Celery("celery_saga_app")
app.conf.update(configuration())
backend = RedisSagaBackend(url=os.environ[STATE_VARIABLE])
set_default_backend(backend)


def declare(step: str) -> Callable[..., Any]:
    """Return the task of a step, after registering its compensation."""

    def undo(compensation_data: dict[str, Any]) -> None:
        handlers.take_back(
            Wish(**compensation_data), step, key=f"{compensation_data['saga']}:{step}"
        )

    def perform(**wish: Any) -> StepResponse:
        try:
            handlers.perform(Wish(**wish), step, key=f"{wish['saga']}:{step}")
        except handlers.Refused as refused:
            raise PermanentFailure(str(refused)) from refused
        return StepResponse(output={}, compensation_data=wish)

    register: Any = app.task
    register(name=f"undo_{step}", **RETRY)(undo)
    task = register(name=step, **RETRY)(perform)
    declared: Callable[..., Any] = saga_step(compensate=f"undo_{step}")(task)
    return declared


order_saga = Saga("order_saga")
for name in STEPS:
    order_saga.add_step(declare(name))


def main() -> None:
    """Start what a file lists, or print the state of every saga."""
    if sys.argv[1] == "states":
        found = {run.input_data["saga"]: run.status.value for run in backend.list_all()}
        print(json.dumps(found))
        return
    for line in Path(sys.argv[1]).read_text().splitlines():
        wish = Wish(**json.loads(line))
        order_saga.run(idempotency_key=wish.saga, **asdict(wish))


if __name__ == "__main__":
    main()
