"""Plain Celery: ``chain()``, and on each step a ``link_error`` that undoes it and all before it.

Each task is idempotent by a key of its own. A saga's state is what its last task tells the outside
service, as an application would write it into a row of its own.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import Celery, chain

from benchmarks.faults import handlers
from benchmarks.faults.ledger import client
from benchmarks.faults.rivals.configuration import RETRY, configuration
from benchmarks.faults.wishes import STEPS, Wish


app = Celery("chain")
app.conf.update(configuration())


@app.task(bind=True, name="perform", **RETRY)
def perform(_: Any, wish: dict[str, Any], step: str) -> None:
    handlers.perform(Wish(**wish), step, key=f"{wish['saga']}:{step}")


@app.task(bind=True, name="roll_back", **{**RETRY, "max_retries": 20})
def roll_back(_: Any, wish: dict[str, Any], failed: str) -> None:
    """The failed step first, because it may have happened; then those before it."""
    for step in reversed(STEPS[: STEPS.index(failed) + 1]):
        handlers.take_back(Wish(**wish), step, key=f"{wish['saga']}:{step}")
    client.say(wish["saga"], "compensated")


@app.task(bind=True, name="complete", **RETRY)
def complete(_: Any, wish: dict[str, Any]) -> None:
    client.say(wish["saga"], "completed")


def submit(wish: Wish) -> None:
    data = asdict(wish)
    steps = [perform.si(data, step).on_error(roll_back.si(data, step)) for step in STEPS]
    chain(*steps, complete.si(data)).apply_async()


def main() -> None:
    for line in Path(sys.argv[1]).read_text().splitlines():
        submit(Wish(**json.loads(line)))


if __name__ == "__main__":
    main()
