"""A run has the steps that ``plan()`` yields for its input, and no deploy changes them (R8, R10, R11)."""

import json
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from sagas import Saga, start_saga, start_sagas, step
from sagas.admin.confirm import Subject
from sagas.definitions import PlanItem, registry
from sagas.engine import dispatch
from sagas.exceptions import PayloadError, PlanError, ResultUnavailable
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga, compensate_saga, preview_plan
from sagas.states import Direction, StepState
from sagas.testing import run_saga
from tests.driving import drive, nothing_is_written, ready_steps, run_one, states, step_of
from tests.planned import CALLS, Count, Dispatch, Line, Many, Order, Wrap


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_broker(messages: list[str]) -> Iterator[None]:
    """Messages are collected, not sent; sagas declared in a test are forgotten."""
    CALLS.clear()
    with registry.isolated():
        registry.register(Wrap)
        registry.register(Dispatch)
        registry.register(Many)
        yield


BOOKS = Order([Line("book", 2), Line("pen")])


def names(run: SagaRun) -> list[str]:
    return [row.name for row in run.steps.forward().order_by("position")]


class TestPlannedRuns:
    def test_two_inputs_give_two_plans(self) -> None:
        one = start_saga(Dispatch, BOOKS, key="1")
        other = start_saga(Dispatch, Order(gift=True), key="2")
        assert names(one) == ["reserve", "ship_line[book]", "ship_line[pen]", "bill"]
        assert names(other) == ["reserve", "wrap", "seal", "bill"]

    def test_each_repetition_has_its_input_and_the_join_has_their_results_in_order(self) -> None:
        run = drive(start_saga(Dispatch, BOOKS, key="k"))
        assert run.is_completed
        assert CALLS == ["reserve", "ship book of 2", "ship pen of 2", "bill 2 book, 1 pen"]
        row = step_of(run, "ship_line[book]")
        assert (row.input, row.handler, row.declared) == (
            {"sku": "book", "quantity": 2},
            "ship_line",
            "ship_line",
        )
        assert step_of(run, "bill").output == ["2 book", "1 pen"]

    def test_repetitions_are_ready_side_by_side(self) -> None:
        run = start_saga(Dispatch, BOOKS, key="k")
        run_one(run)
        assert [row.name for row in ready_steps(run)] == ["ship_line[book]", "ship_line[pen]"]

    def test_what_was_done_is_undone_with_its_own_input(self) -> None:
        order = Order([Line("book", 2), Line("pen"), Line("ink")], fails="ink")
        assert drive(start_saga(Dispatch, order, key="k")).is_compensated
        assert CALLS[-3:] == [
            "call back 1 pen: ship_line[pen] of 1",
            "call back 2 book: ship_line[book] of 2",
            "release 3",
        ]

    def test_each_repetition_has_a_key_of_its_own(self) -> None:
        run = start_saga(Dispatch, BOOKS, key="k")
        keys = {row.idempotency_key for row in run.steps.all()}
        assert len(keys) == 4
        assert f"{run.pk}:ship_line[book]" in keys

    def test_a_repetition_that_was_skipped_has_no_result_among_the_others(self) -> None:
        run = start_saga(Dispatch, BOOKS, key="k")
        run_one(run)
        StepRun.objects.filter(run=run, name="ship_line[book]").update(state=StepState.SKIPPED)
        StepRun.objects.filter(run=run, name="bill").update(pending_predecessors=1)
        run_one(run)
        run_one(run)
        assert CALLS[-1] == "bill 1 pen"

    def test_a_deploy_does_not_change_a_running_saga(self) -> None:
        run = start_saga(Dispatch, BOOKS, key="k")
        run_one(run)

        class Later(Dispatch):
            class Meta:
                label = "tests.Dispatch"

            @classmethod
            def plan(cls, order: Order) -> Iterator[PlanItem]:
                yield cls.bill

        with registry.isolated():
            registry._sagas = {"tests.Later": Later, "tests.Wrap": Wrap}
            registry._by_label = None
            assert drive(run).is_completed
            assert CALLS[-1] == "bill 2 book, 1 pen"
            later = start_saga("tests.Dispatch", {"lines": []}, key="other")
            assert names(later) == ["bill"]

    def test_a_second_start_of_the_same_key_returns_the_run_of_the_first(self) -> None:
        first = start_saga(Dispatch, BOOKS, key="k")
        again = start_saga(Dispatch, BOOKS, key="k")
        assert (again.pk, again.created) == (first.pk, False)

    def test_many_are_started_each_with_its_own_plan(self) -> None:
        orders = [BOOKS, Order(), Order(gift=True)]
        runs = start_sagas(Dispatch, orders, keys=["b", "c", "a"])
        assert [len(names(run)) for run in runs] == [4, 2, 4]
        assert all(drive(run).is_completed for run in runs)


class TestRefusedPlans:
    def test_nothing_is_written(self) -> None:
        twice = Order([Line("book"), Line("book")])
        with pytest.raises(PlanError, match=r"'ship_line\[book\]' twice"):
            start_saga(Dispatch, twice, key="k")
        with pytest.raises(PlanError, match=r"inputs\[1\]: .* twice") as refused:
            start_sagas(Dispatch, [BOOKS, twice], keys=["a", "b"])
        assert refused.value.index == 1
        assert nothing_is_written()

    def test_a_bound_value_of_another_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wrong = classmethod(lambda cls, order: [cls.ship_line.bind("book")])
        monkeypatch.setattr(Dispatch, "plan", wrong)
        with pytest.raises(PayloadError, match=r"the input of ship_line of tests\.Dispatch"):
            start_saga(Dispatch, BOOKS, key="k")
        assert nothing_is_written()


class TestPreview:
    def test_it_says_what_would_run_and_writes_nothing(self) -> None:
        steps = preview_plan(Dispatch, Order([Line("book", 2)], gift=True))
        assert [(one.name, one.handler, one.saga, one.after) for one in steps] == [
            ("reserve", "reserve", "tests.Dispatch", ()),
            ("ship_line[book]", "ship_line", "tests.Dispatch", ("reserve",)),
            ("wrap", "wrap", "tests.Wrap", ("ship_line[book]",)),
            ("seal", "seal", "tests.Wrap", ("wrap",)),
            ("bill", "bill", "tests.Dispatch", ("seal",)),
        ]
        assert steps[1].input == {"sku": "book", "quantity": 2}
        assert nothing_is_written()

    def test_it_takes_a_label_and_data(self) -> None:
        assert [one.name for one in preview_plan("tests.Dispatch", {})] == ["reserve", "bill"]

    def test_on_the_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        data = '{"lines": [{"sku": "book"}]}'
        call_command("saga", "plan", "tests.Dispatch", "--input", data)
        assert "ship_line[book]  tests.Dispatch  reserve" in capsys.readouterr().out
        call_command("saga", "plan", "tests.Dispatch", "--input", data, "--json")
        assert json.loads(capsys.readouterr().out)[1]["input"] == {"sku": "book", "quantity": 1}

    @pytest.mark.parametrize(
        ("label", "data", "complaint"),
        [
            ("tests.Dispatch", "{", "not valid JSON"),
            ("tests.Dispatch", '{"lines": 7}', "PAYLOAD: "),
            ("tests.Nothing", "{}", "UNKNOWN_SAGA: "),
            ("tests.Dispatch", '{"lines": [{"sku": "a"}, {"sku": "a"}]}', "PLAN: .*twice"),
        ],
    )
    def test_what_cannot_be_planned_is_told(self, label: str, data: str, complaint: str) -> None:
        with pytest.raises(CommandError, match=complaint):
            call_command("saga", "plan", label, "--input", data)


class TestGroups:
    def test_its_handlers_are_of_their_own_saga_and_see_its_input(self) -> None:
        assert drive(start_saga(Dispatch, Order(gift=True), key="k")).is_completed
        assert CALLS == ["reserve", "wrap Wrapping(gift=True, fails='')", "seal red", "bill "]

    def test_its_steps_are_undone_by_its_compensations(self) -> None:
        order = Order([Line("book")], gift=True, fails="bill")
        run = drive(start_saga(Dispatch, order, key="k"))
        assert run.is_compensated
        assert CALLS[-3:] == [
            "unwrap red",
            "call back 1 book: ship_line[book] of 1",
            "release 1",
        ]

    def test_its_messages_are_of_its_own_tasks_and_queues(self) -> None:
        run = start_saga(Dispatch, Order([Line("book")], gift=True), key="k")
        rows = {row.name: row for row in run.steps.select_related("run")}
        tasks = {name: dispatch._message(run, row).task for name, row in rows.items()}
        assert tasks["wrap"] == "sagas.tests.Wrap.wrap"
        assert tasks["ship_line[book]"] == "sagas.tests.Dispatch.ship_line"
        assert dispatch.queue_of(rows["wrap"]) == "wrapping"


class TestResults:
    def test_one_that_is_repeated_has_no_single_result(self) -> None:
        class Odd(Dispatch):
            class Meta:
                label = "tests.Odd"

            @step
            def bill(self) -> list[str]:
                return [self.ship_line.result]

            bill.no_compensation("a test")

        run = drive(start_saga(Odd, BOOKS, key="k"))
        assert run.error_code == ResultUnavailable.code
        assert "ask self.ship_line.results" in run.error

    def test_what_is_not_done_is_not_left_out_silently(self) -> None:
        class Early(Saga[Order]):
            class Meta:
                label = "tests.Early"

            @step
            def ship_line(self, line: Line) -> str:
                return line.sku

            ship_line.no_compensation("a test")

            @step(after=[])
            def bill(self) -> list[str]:
                return self.ship_line.results

            bill.no_compensation("a test")

            @classmethod
            def plan(cls, order: Order) -> Iterator[PlanItem]:
                yield cls.bill
                for line in order.lines:
                    yield cls.ship_line.bind(line, name=f"ship_line[{line.sku}]")

        run = start_saga(Early, BOOKS, key="k")
        run_one(run, "bill")
        assert (
            "name the step in after= to wait for all of them"
            in SagaRun.objects.get(pk=run.pk).error
        )

    def test_one_that_is_left_out_counts_as_skipped(self) -> None:
        class Asks(Dispatch):
            class Meta:
                label = "tests.Asks"

            @step
            def bill(self) -> list[str]:
                return [str(self.reserve.skipped), str(self.ship_line.skipped)]

            bill.no_compensation("a test")

            @classmethod
            def plan(cls, order: Order) -> Iterator[PlanItem]:
                yield cls.bill

        run = drive(start_saga(Asks, BOOKS, key="k"))
        assert step_of(run, "bill").output == ["True", "True"]


class TestCompensableUntil:
    @pytest.mark.parametrize(("done", "undone"), [(2, []), (1, ["hold"])])
    def test_all_repetitions_of_the_later_step_end_it(self, done: int, undone: list[str]) -> None:
        class HeldLines(Saga[Order]):
            class Meta:
                label = "tests.HeldLines"

            @step(compensable_until="ship_line")
            def hold(self) -> None: ...

            @hold.compensation
            def let_go(self, _: None) -> None:
                CALLS.append("hold")

            @step
            def ship_line(self, line: Line) -> None: ...

            ship_line.no_compensation("a test")

            @step
            def tell(self) -> None: ...

            tell.no_compensation("a test")

            @classmethod
            def plan(cls, order: Order) -> Iterator[PlanItem]:
                yield cls.hold
                for line in order.lines:
                    yield cls.ship_line.bind(line, name=f"ship_line[{line.sku}]")
                yield cls.tell

        run = start_saga(HeldLines, BOOKS, key="k")
        for _ in range(1 + done):
            run_one(run)
        cancel_saga(run, reason="a test")
        assert drive(run).outcome == "cancelled"
        assert undone == CALLS


def succeeded(run: SagaRun) -> None:
    """Say of all forward steps but the last that they are done, without running them."""
    forward = run.steps.forward()
    done = forward.exclude(name="end")
    done.update(state=StepState.SUCCEEDED, due_at=None, send_at=None, output=1)
    due = {"due_at": run.created_at, "send_at": run.created_at}
    forward.filter(name="end").update(state=StepState.READY, pending_predecessors=0, **due)


class TestAdminPage:
    def test_it_shows_hundreds_of_repetitions_and_answers_for_one(
        self, admin_client: Client
    ) -> None:
        hostile = "<b>pen & 50%/ink?</b>"
        order = Order([Line(hostile), *(Line(f"sku-{number}") for number in range(300))])
        run = start_saga(Dispatch, order, key="k")
        run_one(run)
        with CaptureQueriesContext(connection) as captured:
            page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk]))
        html = page.content.decode()
        assert html.count("ship_line[sku-") >= 300
        assert escape(f"ship_line[{hostile}]") in html
        assert hostile not in html
        assert len(captured) < 30
        name = f"ship_line[{hostile}]"
        link = reverse("admin:sagas_sagarun_skip_step", args=[run.pk, name])
        row = step_of(run, name)
        subject = Subject(run, is_allowed=True, step=row)
        admin_client.post(link, {"reason": "out of stock", subject.token_name: subject.token})
        assert states(run)[name] == "skipped"


class TestCost:
    """What a step costs does not depend on how many its run has."""

    @staticmethod
    def statements(run: SagaRun, name: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            run_one(run, name)
        return len(captured)

    def test_a_repetition_costs_the_same_among_100_and_2000(self) -> None:
        found = set()
        for count in (100, 2000):
            run = start_saga(Many, Count(count), key=str(count))
            run_one(run)
            found.add(self.statements(run, "make[7]"))
        assert len(found) == 1

    def test_so_does_undoing_one(self) -> None:
        found = set()
        for count in (100, 2000):
            run = start_saga(Many, Count(count, fails=True), key=str(count))
            succeeded(run)
            run_one(run, "end")
            name = ready_steps(run)[0].name
            found.add(self.statements(run, name))
            assert states(run, Direction.BACKWARD)[name] == "succeeded"
        assert len(found) == 1

    @pytest.mark.slow
    @pytest.mark.timeout(3600)
    def test_ten_thousand_steps_run_and_are_undone(self) -> None:
        run = run_saga(start_saga(Many, Count(9998), key="k"), limit=20_000)
        assert run.is_completed
        assert step_of(run, "end").output == sum(number + 9998 for number in range(9998))
        run = compensate_saga(run, reason="a test", revert_completed=True)
        assert run_saga(run, limit=20_000).is_compensated
        assert len(CALLS) == 9998
