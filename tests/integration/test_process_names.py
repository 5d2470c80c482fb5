"""Replicas may have the same node name and the same pids: none takes another's attempt for its own (R53)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now

from benchmarks.plant.worker_process import CHECKOUT
from sagas import start_saga
from sagas.engine.transitions import claim
from sagas.logs import process_name
from sagas.models import StepRun
from sagas.worker.bootsteps import _PoolChildren
from tests.driving import step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

NODE = "celery@web"
BOOT = f"""
import os
from sagas.logs import process_name
print(process_name({NODE!r}, 7), flush=True)
if os.fork() == 0:
    print(process_name({NODE!r}, 7), flush=True)
    os._exit(0)
os.wait()
"""


def names_of_a_boot() -> list[str]:
    """Return what a worker's main process, and then a child of it, would call the pid 7."""
    done = subprocess.run(
        [sys.executable, "-c", BOOT],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


@pytest.fixture
def dead_child() -> Iterator[Any]:
    """A process that has exited and that nobody has reaped yet."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child
    child.wait()


def attempt_of(worker: str) -> StepRun:
    row = step_of(start_saga(Five, Script(), key=worker), "a")
    attempt = claim(row.pk, row.fence, task_id="", worker=worker)
    assert attempt is not None
    return attempt


def is_given_up(attempt: StepRun) -> bool:
    return StepRun.objects.filter(pk=attempt.pk, lease_until__lte=Now()).exists()


class TestProcessNames:
    def test_a_child_has_the_name_of_its_worker_and_another_boot_has_another(self) -> None:
        one, two = names_of_a_boot(), names_of_a_boot()
        assert one[0] == one[1]
        assert two[0] == two[1]
        assert one[0] != two[0]
        assert all(name.startswith("celery@web/7-") for name in one + two)

    def test_the_longest_node_name_fits(self) -> None:
        column = StepRun._meta.get_field("worker")
        assert column.max_length is not None
        assert len(process_name("w" * 200, 4_194_304)) <= column.max_length


class TestAChildThatDied:
    def test_loses_its_own_attempt_and_not_that_of_a_replica_with_its_pid(
        self, dead_child: Any, messages: list[str]
    ) -> None:
        mine = attempt_of(process_name(NODE, dead_child.pid))
        other = attempt_of(f"{NODE}/{dead_child.pid}-00000000")
        pool = SimpleNamespace(_pool=SimpleNamespace(_pool=[dead_child]))
        _PoolChildren(pool, NODE).give_up_dead()
        assert is_given_up(mine)
        assert not is_given_up(other)
