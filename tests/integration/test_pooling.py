"""With Django's pool a handler that waits has no connection; without it, its thread keeps its own."""

import pytest
from django.db import connection

from sagas import Saga, start_saga, step
from sagas.engine import pooling
from sagas.models import SagaRun
from tests.driving import drive


pytestmark = pytest.mark.django_db(transaction=True)

seen: dict[str, bool] = {}


def look(what: str) -> None:
    seen[what] = connection.connection is not None


class Looks(Saga[None]):
    """Tells at each place whether there is an open connection."""

    class Meta:
        label = "tests.Looks"

    @step
    def alone(self) -> str:
        look("alone")
        return "x"

    alone.no_compensation("looks")

    @step
    def reads(self) -> None:
        assert self.alone.result == "x"
        look("after a result was read")
        self.heartbeat("here")
        look("after a heartbeat")
        self.set_tags(seen="yes")
        look("after tags were set")

    reads.no_compensation("looks")

    @reads.condition
    def is_wanted(self) -> bool:
        look("in a condition")
        return True

    @step
    def asks(self) -> None:
        SagaRun.objects.count()
        self.heartbeat("here")
        look("after a query of its own")

    asks.no_compensation("looks")

    @step(atomic=True)
    def atomically(self) -> None:
        look("in a transaction")

    atomically.no_compensation("looks")


@pytest.fixture(autouse=True)
def _clean(messages: list[str]) -> None:
    seen.clear()


def test_a_connection_of_djangos_pool_is_given_back_while_a_handler_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pooling, "is_pooled", lambda: True)
    assert drive(start_saga(Looks, None, key="k")).is_completed
    assert seen == {
        "alone": False,
        "in a condition": False,
        "after a result was read": False,
        "after a heartbeat": False,
        "after tags were set": False,
        # It is the handler's own, until it ends.
        "after a query of its own": True,
        "in a transaction": True,
    }


def test_without_a_pool_everything_goes_on_by_one_connection() -> None:
    connection.ensure_connection()
    driver = connection.connection
    assert drive(start_saga(Looks, None, key="k")).is_completed
    assert set(seen.values()) == {True}
    assert connection.connection is driver


@pytest.mark.parametrize("greenlet", [True, False], ids=["a greenlet", "a thread"])
def test_a_task_in_a_greenlet_leaves_no_connection_that_nobody_will_use(
    monkeypatch: pytest.MonkeyPatch, *, greenlet: bool
) -> None:
    monkeypatch.setattr(pooling, "_is_greenlet", lambda: greenlet)
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    connection.close()
    with pooling.of_a_task():
        SagaRun.objects.count()
        assert connection.connection is not None
    assert (connection.connection is None) is greenlet
