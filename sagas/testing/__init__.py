"""For users' tests: run a saga in this process, fail at any step, and try every failure there is.

Nothing here needs pytest, Celery or a broker; a plain Django ``TestCase`` will do. How to use it is
told in ``docs/testing.md``. To call one handler alone, make an instance of the saga::

    FulfilOrder(order, results={"reserve_inventory": reservation}).process_payment()
"""

from sagas.engine.remote_calls import answered_by as remote_tasks
from sagas.testing.events import collected_events
from sagas.testing.exploring import (
    Crash,
    CrashPoint,
    CrashResult,
    assert_every_failure_is_undone,
    crash_points,
)
from sagas.testing.failing import Failure, fail_at
from sagas.testing.running import run_saga


__all__ = [
    "Crash",
    "CrashPoint",
    "CrashResult",
    "Failure",
    "assert_every_failure_is_undone",
    "collected_events",
    "crash_points",
    "fail_at",
    "remote_tasks",
    "run_saga",
]
