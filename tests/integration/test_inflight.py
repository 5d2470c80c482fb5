"""``saga check-inflight``: what it says of open sagas is what the engine then does (R9, R53)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from sagas import OutcomeUnknown, PermanentError, Saga, Wait, start_saga, step
from sagas.definitions import registry
from sagas.inflight import Problem, check_inflight
from sagas.management.subcommands import deploying
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, complete_step, retry_saga, rewind_saga
from sagas.states import SagaState, StepState
from tests.driving import drive, everything, fresh, run_one, step_of
from tests.traced import Diamond, Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

BOOK: list[str] = []


@dataclass(frozen=True)
class Order:
    """What goes wrong, as ``"fails c"``."""

    trouble: str = ""


@dataclass(frozen=True)
class Priced:
    trouble: str
    price: int


class Acting:
    """What handlers do."""

    input: Any

    def act(self, name: str) -> str:
        what, _, where = self.input.trouble.partition(" ")
        if where == name and what == "waits":
            raise Wait
        if where == name and what == "doubts":
            raise OutcomeUnknown
        if where == name:
            raise PermanentError
        BOOK.append(name)
        return name


def declare(without: str = "", *, of: int = 1, a_returns: Any = str, takes: Any = Order) -> None:
    """Declare a → b → c, the pivot → d, as the code of one release."""

    class Changing(Acting, Saga[takes]):
        class Meta:
            label = "tests.Changing"
            version = of
            step_defaults = {"max_retries": 0}

        @step
        def a(self) -> a_returns:
            return self.act("a")

        if without == "undo_a":
            a.no_compensation("not any more")
        else:

            @a.compensation
            def undo_a(self, _: Any) -> None:
                self.act("undo_a")

        if without != "b":

            @step
            def b(self) -> str:
                return self.act("b")

            b.no_compensation("reads only")
            if without != "find_b":

                @b.reconcile
                def find_b(self) -> str | None:
                    self.act("find_b")
                    return "b"

        @step(pivot=True)
        def c(self) -> str:
            self.a.result_or("")
            return self.act("c")

        @step
        def d(self) -> str:
            return self.act("d")


def telling(without: str = "", *, takes: Any = str, trouble: str = "") -> type[Saga[None]]:
    """Declare work, which has an input, and tell, for which nobody waits."""

    class Telling(Saga[None]):
        class Meta:
            label = "tests.Telling"

        @step
        def work(self, what: takes) -> str:
            if trouble == "network":
                raise ConnectionError
            return str(what)

        if without == "undo_work":
            work.no_compensation("not any more")
        else:

            @work.compensation
            def undo_work(self, _: str | None) -> None: ...

        if without != "inputs":

            @work.inputs
            def what_to_do(self) -> Any:
                return "bread"

        if without != "tell":

            @step(after=[], critical=False, wait=False)
            def tell(self) -> None: ...

            tell.no_compensation("only tells")

    return Telling


@contextmanager
def release(without: str = "", **changes: Any) -> Iterator[None]:
    with registry.isolated():
        if without != "saga":
            declare(without, **changes)
        yield


@pytest.fixture(autouse=True)
def _new_book() -> None:
    BOOK.clear()


def started(trouble: str = "", *, key: str = "order", steps: int = 0) -> SagaRun:
    """A run that the first release has brought so far."""
    with release():
        run = start_saga("tests.Changing", {"trouble": trouble}, key=key)
        for _ in range(steps):
            run_one(run)
    return run


def problems() -> dict[str, str]:
    """Return what is found, by step."""
    return {finding.step: finding.problem for finding in check_inflight().findings}


class TestWhatItFindsIsWhatTheEngineDoes:
    def test_nothing_where_nothing_changed(self) -> None:
        run = started(steps=2)
        with release():
            assert problems() == {}
            assert drive(run).state == SagaState.COMPLETED

    def test_a_saga_that_is_gone(self) -> None:
        run = started(steps=1)
        with release("saga"):
            assert problems() == {"": Problem.SAGA_REMOVED}
            assert run_one(run) == "UNKNOWN_SAGA"

    def test_a_step_that_is_gone_and_still_to_come(self) -> None:
        run = started(steps=1)
        with release("b"):
            assert problems() == {"b": Problem.STEP_REMOVED}
            assert run_one(run) == "UNKNOWN_HANDLER"

    def test_not_a_step_that_is_gone_and_done(self) -> None:
        run = started(steps=2)
        with release("b"):
            assert problems() == {}
            assert drive(run).state == SagaState.COMPLETED

    def test_an_input_that_wants_one_more_field(self) -> None:
        run = started(steps=1)
        with release(takes=Priced):
            assert problems() == {"": Problem.INPUT}
            (finding,) = check_inflight().findings
            assert "price" in finding.detail
            assert run_one(run) == "PAYLOAD"

    def test_a_result_of_another_type(self) -> None:
        run = started(steps=2)
        with release(a_returns=int):
            assert problems() == {"a": Problem.RESULT}
            assert run_one(run) == "PAYLOAD"

    def test_a_compensation_that_is_gone_and_may_be_wanted(self) -> None:
        run = started(steps=1)
        with release("undo_a"):
            assert problems() == {"a": Problem.COMPENSATION_REMOVED}
            cancel_saga(run, reason="no longer wanted")
            assert problems() == {"a": Problem.COMPENSATION_REMOVED}
            assert run_one(run) == "UNKNOWN_HANDLER"

    def test_not_a_compensation_that_is_gone_behind_the_pivot(self) -> None:
        run = started(steps=3)
        with release("undo_a"):
            assert problems() == {}
            assert drive(run).state == SagaState.COMPLETED

    def test_a_reconcile_that_is_gone_while_it_is_asked(self) -> None:
        run = started("doubts b", steps=2)
        assert step_of(run, "b").is_reconciling
        with release("find_b"):
            assert problems() == {"b": Problem.RECONCILE_REMOVED}
            assert run_one(run) == "UNKNOWN_HANDLER"
        with release():
            assert drive(run).state == SagaState.COMPLETED

    def test_a_reconcile_that_is_gone_and_would_be_asked(self) -> None:
        run = started("doubts b", steps=1)
        with release("find_b"):
            assert problems() == {"b": Problem.RECONCILE_REMOVED}
            run_one(run)
            assert run_one(run) == "UNKNOWN_HANDLER"

    def test_a_run_of_a_newer_version_when_code_is_rolled_back(self) -> None:
        with release(of=2):
            run = start_saga("tests.Changing", {"trouble": ""}, key="order")
        with release():
            assert problems() == {"": Problem.NEWER_VERSION}
            assert run_one(run) == "NEWER_VERSION"

    def test_a_step_that_waits_for_an_answer_is_looked_at(self) -> None:
        run = started("waits b", steps=2)
        assert step_of(run, "b").state == StepState.WAITING
        with release("b"):
            assert problems() == {"b": Problem.STEP_REMOVED}
        with release():
            assert problems() == {}
            complete_step(run, "b", result="b", reason="it is done")
            assert drive(run).state == SagaState.COMPLETED

    def test_a_dead_letter_is_looked_at_as_its_retry_would_go(self) -> None:
        run = started("fails d", steps=4)
        assert fresh(run).state == SagaState.DEAD_LETTER
        with release("undo_a"):
            assert problems() == {}
        with release(takes=Priced):
            assert problems() == {"": Problem.INPUT}
            retry_saga(run, reason="try again")
            assert run_one(run) == "PAYLOAD"

    def test_a_step_for_which_nobody_waits_after_its_saga_is_completed(self) -> None:
        with registry.isolated():
            run = start_saga(telling(), None, key="order")
            run_one(run, "work")
        assert (fresh(run).state, step_of(run, "tell").state) == ("completed", "ready")
        with registry.isolated():
            telling("tell")
            assert problems() == {"tell": Problem.STEP_REMOVED}
            assert run_one(run) == "UNKNOWN_HANDLER"
        with registry.isolated():
            telling("undo_work")
            assert problems() == {}
            drive(run)
            assert check_inflight().runs == 0

    def test_an_input_of_a_step_that_is_no_longer_computed(self) -> None:
        with registry.isolated():
            run = start_saga(telling(), None, key="order")
        with registry.isolated():
            telling("inputs")
            assert problems() == {"work": Problem.STEP_INPUT}
            assert run_one(run, "work") == "UNKNOWN_HANDLER"

    def test_an_input_of_a_step_that_does_not_load(self) -> None:
        with registry.isolated():
            run = start_saga(telling(trouble="network"), None, key="order")
            run_one(run, "work")
        with registry.isolated():
            telling(takes=int)
            assert problems() == {"work": Problem.STEP_INPUT}
            StepRun.objects.filter(run=run).update(due_at=Now())
            assert run_one(run, "work") == "PAYLOAD"

    def test_a_step_that_is_gone_and_comes_again_by_a_rewind(self) -> None:
        run = started(steps=2)
        with release():
            rewind_saga(run, to="a", reason="once more")
        with release("b"):
            assert problems() == {"b": Problem.STEP_REMOVED}
            drive(run)
            assert step_of(run, "b").error_code == "UNKNOWN_HANDLER"
        with release():
            assert drive(run).state == SagaState.COMPLETED
        assert BOOK == ["a", "b", "undo_a", "a", "b", "c", "d"]

    def test_a_rewind_that_leads_to_a_newer_version(self) -> None:
        run = started(steps=2)
        with release(of=2):
            rewind_saga(run, to="a", input=Order("waits d"), reason="once more")
        with release():
            assert problems() == {"": Problem.NEWER_VERSION}
            drive(run)
            assert step_of(run, "a").error_code == "NEWER_VERSION"

    def test_not_what_is_over(self) -> None:
        run = started()
        with release():
            drive(run)
        with release("saga"):
            assert check_inflight().runs == 0


class TestNoFalseAlarm:
    @pytest.mark.parametrize("saga", [Five, Diamond])
    def test_whatever_state_a_run_is_in_its_own_code_carries_it(self, saga: Any) -> None:
        words = ("network", "unknown", "wait", "bug")
        names = [each.name for each in saga.definition.steps]
        for name in names:
            for word in words:
                undo = f"undo_{names[0]}"
                script = Script({name: word, **({undo: "permanent"} if word == "bug" else {})})
                run = start_saga(saga, script, key=f"{name} {word}")
                with suppress(AssertionError):  # in the middle
                    drive(run, limit=3 if word == "network" else 50)
        report = check_inflight(batch_size=7)
        assert report.findings == []
        assert report.runs > len(names)


class TestReading:
    def test_counts_runs_by_what_is_wrong_in_batches(self) -> None:
        for number in range(5):
            started(key=str(number), steps=number % 2)
        seen: list[int] = []
        with release("b"):
            report = check_inflight(batch_size=2, on_progress=seen.append)
        (finding,) = report.findings
        assert (finding.saga, finding.version, finding.runs) == ("tests.Changing", 1, 5)
        assert (report.runs, report.stuck, seen) == (5, 5, [2, 4, 5])
        assert SagaRun.objects.filter(pk=finding.example).exists()

    def test_costs_two_statements_for_each_batch_and_writes_nothing(self) -> None:
        for number, trouble in enumerate(["", "waits b", "fails d", "doubts b", ""]):
            started(trouble, key=str(number), steps=4 if trouble == "fails d" else 1)
        before = everything()
        with release("undo_a"), CaptureQueriesContext(connection) as captured:
            assert check_inflight().stuck == 4
        assert everything() == before
        assert {query["sql"].split()[0] for query in captured} == {"SELECT"}
        # Two states have runs; of each there is a batch and its steps, and then no further one.
        assert len(captured) == 4 + 2 * 2


class TestTheCommand:
    def test_says_what_is_wrong_and_exits_with_one(self) -> None:
        run = started(steps=1)
        out = StringIO()
        with release("b"), pytest.raises(CommandError, match="1 of 1 open sagas cannot be carried"):
            call_command("saga", "check-inflight", stdout=out)
        head, row, last = out.getvalue().splitlines()
        assert head.split() == ["SAGA", "VERSION", "STEP", "PROBLEM", "SAGAS", "EXAMPLE", "DETAIL"]
        assert row.split()[:7] == ["tests.Changing", "1", "b", "step", "removed", "1", str(run.pk)]
        assert last.startswith("Read 1 open sagas in ")

    def test_says_that_all_is_well(self) -> None:
        started()
        out = StringIO()
        with release():
            call_command("saga", "check-inflight", stdout=out)
        assert "This code can carry on and undo all of them." in out.getvalue()

    def test_speaks_json(self) -> None:
        run = started()
        out = StringIO()
        with release("b"), pytest.raises(CommandError):
            call_command("saga", "check-inflight", "--json", stdout=out)
        told = json.loads(out.getvalue())
        assert (told["runs"], told["stuck"]) == (1, 1)
        (finding,) = told["findings"]
        assert finding["problem"] == "step removed"
        assert finding["example"] == str(run.pk)

    def test_says_how_far_it_came(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(deploying, "PROGRESS_SECONDS", 0.0)
        started()
        with release():
            call_command("saga", "check-inflight", stdout=StringIO())
        assert capsys.readouterr().err == "1 of 1 open sagas\n"
