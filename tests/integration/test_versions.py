"""Runs of one version of a saga under the code of another: inputs are migrated, newer runs left alone (R5, R9)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from sagas import Saga, start_saga, step
from sagas.definitions import registry
from sagas.engine.execute import execute
from sagas.exceptions import SagaConflict
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState, StepState
from tests.driving import drive, fresh, run_one, step_of


pytestmark = pytest.mark.django_db(transaction=True)

BOOK: list[str] = []


@dataclass(frozen=True)
class Old:
    order: str


@dataclass(frozen=True)
class New:
    order: str
    currency: str


def first() -> type[Saga[Any]]:
    class Versioned(Saga[Old]):
        class Meta:
            label = "tests.Versioned"
            key = "{input.order}"

        @step
        def a(self) -> str:
            BOOK.append(f"a of 1: {self.input}")
            return "a"

        @a.compensation
        def undo_a(self, _: str | None) -> None:
            BOOK.append(f"undo_a of 1: {self.input}")

        @step
        def b(self) -> str:
            BOOK.append(f"b of 1: {self.input}")
            return "b"

        b.no_compensation("it is the last")

    return Versioned


def third(migrate: Callable[[int, Any], Any] | None = None) -> type[Saga[Any]]:
    class Versioned(Saga[New]):
        class Meta:
            label = "tests.Versioned"
            key = "{input.order}"
            version = 3

        @classmethod
        def migrate(cls, version: int, data: Any) -> Any:
            return data if migrate is None else migrate(version, data)

        @step
        def a(self) -> str:
            BOOK.append(f"a of 3: {self.input}")
            return "a"

        @a.compensation
        def undo_a(self, _: str | None) -> None:
            BOOK.append(f"undo_a of 3: {self.input}")

        @step
        def b(self) -> str:
            BOOK.append(f"b of 3: {self.input}")
            return "b"

        b.no_compensation("it is the last")

    return Versioned


def with_euros(version: int, data: Any) -> Any:
    """As such a function is often written: it changes what it was given."""
    assert version == 1
    assert "currency" not in data
    data["currency"] = "EUR"
    return data


@contextmanager
def release(make: Callable[..., Any], *arguments: Any) -> Iterator[type[Saga[Any]]]:
    with registry.isolated():
        yield make(*arguments)


@pytest.fixture(autouse=True)
def _new_book() -> None:
    BOOK.clear()


@pytest.fixture
def old_run() -> SagaRun:
    with release(first) as saga:
        return start_saga(saga, Old("o-1"))


@pytest.fixture
def new_run() -> SagaRun:
    with release(third) as saga:
        return start_saga(saga, New("o-1", "USD"))


class TestMigrations:
    def test_an_older_input_is_brought_to_the_type_of_today(self, old_run: SagaRun) -> None:
        with release(third, with_euros):
            row = step_of(old_run, "a")
            # In place: both steps are run from one row in memory.
            execute(row.pk, row.fence, in_place=True)
        euros = New("o-1", "EUR")
        assert [f"a of 3: {euros}", f"b of 3: {euros}"] == BOOK
        assert fresh(old_run).state == SagaState.COMPLETED

    def test_what_is_stored_stays_so_that_old_workers_go_on(self, old_run: SagaRun) -> None:
        with release(third, with_euros):
            run_one(old_run)
        stored = fresh(old_run)
        assert (stored.input, stored.version) == ({"order": "o-1"}, 1)
        with release(first):
            assert drive(old_run).state == SagaState.COMPLETED
        assert BOOK[-1] == f"b of 1: {Old('o-1')}"

    def test_a_compensation_gets_it_too(self, old_run: SagaRun) -> None:
        with release(first):
            run_one(old_run)
        with release(third, with_euros):
            cancel_saga(old_run, reason="no longer wanted")
            assert drive(old_run).state == SagaState.CANCELLED
        assert BOOK[-1] == f"undo_a of 3: {New('o-1', 'EUR')}"

    def test_an_input_of_this_version_is_not_migrated(self, new_run: SagaRun) -> None:
        with release(third, with_euros):
            assert drive(new_run).state == SagaState.COMPLETED

    @pytest.mark.parametrize(
        ("migrate", "says"),
        [
            (lambda _, data: data["gone"], "of version 1 to version 3: KeyError: 'gone'"),
            (lambda _, data: data, "currency"),
            (lambda *_: New("o", "EUR"), "cannot be stored as JSON"),
        ],
    )
    def test_one_that_fails_or_does_not_fit_makes_the_step_wait(
        self, old_run: SagaRun, migrate: Callable[[int, Any], Any], says: str
    ) -> None:
        with release(third, migrate):
            assert run_one(old_run) == "PAYLOAD"
        row = step_of(old_run, "a")
        assert (row.state, row.attempt, row.in_doubt) == (StepState.READY, 0, False)
        assert says in row.error
        assert BOOK == []
        with release(third, with_euros):
            assert drive(old_run).state == SagaState.COMPLETED


class TestStartingOnceMore:
    def test_the_same_key_and_input_find_the_run_of_before(self, old_run: SagaRun) -> None:
        with release(third, with_euros) as saga:
            again = start_saga(saga, New("o-1", "EUR"))
        assert (again.pk, again.created) == (old_run.pk, False)

    def test_another_input_is_a_conflict(self, old_run: SagaRun) -> None:
        with (
            release(third, with_euros) as saga,
            pytest.raises(SagaConflict, match="with another input"),
        ):
            start_saga(saga, New("o-1", "USD"))

    def test_an_input_that_cannot_be_read_is_a_conflict_that_says_so(
        self, old_run: SagaRun
    ) -> None:
        with (
            release(third) as saga,
            pytest.raises(SagaConflict, match=r"cannot compare: .*currency"),
        ):
            start_saga(saga, New("o-1", "EUR"))

    def test_so_is_one_of_a_newer_version(self, new_run: SagaRun) -> None:
        with release(first) as saga, pytest.raises(SagaConflict, match="started by version 3"):
            start_saga(saga, Old("o-1"))


class TestNewerRuns:
    def test_are_left_to_workers_that_know_them(self, new_run: SagaRun) -> None:
        with release(first):
            # It could read the input: a field that it does not know is no error.
            assert run_one(new_run) == "NEWER_VERSION"
        row = step_of(new_run, "a")
        assert (row.state, row.attempt) == (StepState.READY, 0)
        assert row.due_at is not None
        assert row.due_at - row.updated_at <= timedelta(seconds=1)
        assert "started by version 3 of tests.Versioned, and this code is version 1" in row.error
        with release(third):
            assert drive(new_run).state == SagaState.COMPLETED
        assert [line[:6] for line in BOOK] == ["a of 3", "b of 3"]

    def test_so_are_their_compensations(self, new_run: SagaRun) -> None:
        with release(third):
            run_one(new_run)
        cancel_saga(new_run, reason="no longer wanted")
        with release(first):
            assert run_one(new_run) == "NEWER_VERSION"
        with release(third):
            assert drive(new_run).state == SagaState.CANCELLED
        assert BOOK[-1].startswith("undo_a of 3")

    def test_are_tried_soon_and_a_little_later_each_time_then_seldom(
        self, new_run: SagaRun
    ) -> None:
        waits = []
        with release(first):
            for _ in range(27):
                StepRun.objects.filter(run=new_run).update(due_at=Now())
                row = step_of(new_run, "a")
                execute(row.pk, row.fence)
                row = step_of(new_run, "a")
                assert row.due_at is not None
                waits.append(round((row.due_at - row.updated_at).total_seconds(), 1))
        assert waits[:3] == [0.5, 1.0, 1.5]
        assert waits[18:] == [9.5, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
