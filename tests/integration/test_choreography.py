"""Services react to each other's events: what a trace becomes, forward and back."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import F
from django.test import Client
from django.urls import reverse

from sagas import Event, publish, start_saga
from sagas.choreography import PublishedEvent
from sagas.engine import dispatch, trace
from sagas.engine.advance import record_outcome
from sagas.engine.decisions import Succeeded
from sagas.engine.execute import execute
from sagas.engine.recover import sweep
from sagas.exceptions import (
    ActionNotAllowed,
    IdempotencyRequired,
    PayloadError,
    SagaConflict,
    SagaDefinitionError,
)
from sagas.inflight import Problem, check_inflight
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import complete_step, rewind_saga
from sagas.states import EventType, SagaState
from sagas.testing import collected_events
from tests.driving import (
    claimed,
    drive,
    expire_lease,
    fresh,
    nothing_is_written,
    run_one,
    states,
    step_of,
)
from tests.eventful import WORLD, Order, Receipt, charge


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_broker(messages: list[str]) -> None:
    """Messages are collected, not sent."""
    WORLD.clear()


def ordered(key: str = "1", **script: str) -> SagaRun:
    return publish("Ordered", Order(1, script), key=key)


def rows(run: SagaRun) -> list[str]:
    return list(StepRun.objects.forward().filter(run=run).values_list("name", flat=True))


def carried_by(run: SagaRun, name: str) -> dict[str, Any]:
    carried: dict[str, Any] = step_of(run, name).input or {}
    return carried


ALL = [
    "Ordered",
    "tests.reserve",
    "Reserved",
    "tests.charge",
    "tests.watch",
    "Paid",
    "tests.ship",
    "Fulfilled",
]


class TestForward:
    def test_each_event_and_each_reaction_is_a_row_of_one_trace(self) -> None:
        run = drive(ordered())
        assert run.state == SagaState.COMPLETED
        assert (run.label, run.key, run.input) == (
            "events.Ordered",
            "1",
            {"number": 1, "script": {}},
        )
        assert rows(run) == ALL
        assert set(states(run).values()) == {"succeeded"}
        assert WORLD == ["reserve", "charge", "watch", "ship"]

    def test_messages_go_where_the_reaction_says(self, messages: list[str]) -> None:
        run = ordered()
        assert messages == ["sagas.events.Ordered.tests.reserve"]
        assert dispatch.queue_of(step_of(run, "tests.reserve")) == "stock"

    def test_an_event_carries_its_context(self) -> None:
        run = drive(ordered())
        carried = carried_by(run, "tests.ship")
        assert carried["completed_steps"] == ["tests.reserve", "tests.charge"]
        assert carried["step"] == "tests.charge"
        assert carried["data"] == {"number": 2, "script": {}}

    def test_an_event_that_nothing_reacts_to_is_a_trace_that_is_complete(self) -> None:
        run = publish("Unheard", {"a": 1}, key="k")
        assert fresh(run).state == run.state == SagaState.COMPLETED
        assert states(run) == {"Unheard": "succeeded"}
        assert SagaEvent.objects.get(type=EventType.PUBLISHED).note == "nothing reacts to it"

    def test_it_begins_with_the_transaction_of_the_caller_or_not_at_all(self) -> None:
        with transaction.atomic():
            ordered()
            transaction.set_rollback(True)
        assert nothing_is_written()

    def test_an_attempt_that_fails_publishes_nothing(self) -> None:
        run = ordered(reserve="network")
        run_one(run)
        assert rows(run) == ALL[:2]
        assert drive(run).is_completed
        assert rows(run) == ALL

    def test_the_trace_says_what_it_waits_for(self) -> None:
        run = ordered()
        assert fresh(run).remaining == 1
        run_one(run)
        assert fresh(run).remaining == 2

    def test_a_reaction_may_have_a_condition(self) -> None:
        run = drive(ordered(watch="no"))
        assert (run.state, states(run)["tests.watch"]) == (SagaState.COMPLETED, "skipped")

    @pytest.mark.parametrize(("name", "count"), [("good", 1), ("bad", 0)])
    def test_an_atomic_one_writes_and_publishes_or_neither(self, name: str, count: int) -> None:
        run = drive(publish("Noted", name, key="k"))
        assert run.is_completed is bool(count)
        assert Group.objects.filter(name=name).count() == count
        assert rows(run).count("Written") == count


class TestOnce:
    def test_a_second_event_of_its_key_is_the_first_one(self) -> None:
        first, second = ordered(), ordered()
        assert (first.pk, first.created, second.created) == (second.pk, True, False)
        drive(first)
        assert ordered().pk == first.pk
        assert WORLD == ["reserve", "charge", "watch", "ship"]

    def test_another_key_is_another_event(self) -> None:
        assert ordered("1").pk != ordered("2").pk

    def test_other_data_under_its_key_is_refused(self) -> None:
        ordered()
        with pytest.raises(SagaConflict, match="exists with other data"):
            ordered(reserve="network")

    def test_of_one_key_in_a_trace_there_is_one_event(self, messages: list[str]) -> None:
        run = drive(publish("Listed", ["a", "b", "a"], key="k"))
        assert run.is_completed
        lines = ["Line[a]", "tests.pick[a]", "Line[b]", "tests.pick[b]"]
        assert rows(run) == ["Listed", "tests.split", *lines]
        assert WORLD == ["pick a", "pick b"]
        assert messages.count("sagas.events.Line.tests.pick") == 2

    def test_each_of_them_is_undone_by_itself(self) -> None:
        run = drive(publish("Listed", ["a", "b", "bad"], key="k"))
        assert run.state == SagaState.COMPENSATED
        assert WORLD == ["pick a", "pick b", "put back b (b)", "put back a (a)"]

    def test_a_message_that_comes_twice_publishes_once(self) -> None:
        run = ordered()
        row = step_of(run, "tests.reserve")
        execute(row.pk, row.fence)
        assert execute(row.pk, row.fence) == "not claimed"
        assert rows(run).count("Reserved") == 1

    def test_an_attempt_that_was_given_up_publishes_nothing_beside_the_next_one(self) -> None:
        run = ordered()
        lost = claimed(run, "tests.reserve")
        StepRun.objects.filter(pk=lost.pk).update(
            state="ready", due_at=F("created_at"), send_at=F("created_at"), lease_until=None
        )
        run_one(run)
        late = PublishedEvent.checked("Reserved", Order(9))
        assert not record_outcome(lost, Succeeded(output={"of": "late"}, published=(late,))).won
        assert rows(run) == ALL[:5]
        assert drive(run).is_completed

    def test_a_success_that_comes_late_and_ends_its_step_publishes(self) -> None:
        run = ordered()
        lost = claimed(run, "tests.reserve")
        expire_lease(lost.pk)
        sweep(worker="w")
        late = PublishedEvent.checked("Reserved", Order(2))
        record_outcome(lost, Succeeded(output={"of": "reserve"}, published=(late,)))
        assert rows(run) == ALL[:5]
        assert drive(run).is_completed


class TestBackward:
    def test_what_happened_is_undone_last_first(self) -> None:
        run = drive(ordered(ship="permanent"))
        assert run.state == SagaState.COMPENSATED
        assert WORLD == ["reserve", "charge", "watch", "ship", "refund 2", "release 1 (reserve)"]
        assert run.error_code == "REFUSED"
        assert [step.name for step in run.steps.backward()] == ["tests.charge", "tests.reserve"]

    def test_a_failure_may_be_an_event(self) -> None:
        run = drive(ordered(ship="event"))
        assert run.state == SagaState.COMPENSATED
        assert (run.error_code, run.error) == ("NoCarrier", "no carrier")
        assert rows(run)[-1] == "NoCarrier"
        assert states(run)["NoCarrier"] == "skipped"
        assert carried_by(run, "NoCarrier")["data"]["number"] == 2
        assert WORLD[-2:] == ["refund 2", "release 1 (reserve)"]

    def test_who_cannot_publish_may_have_acted_and_is_undone(self) -> None:
        run = drive(ordered(reserve="bad"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "PAYLOAD")
        assert "Paid, for tests.ship" in run.error
        assert WORLD == ["reserve", "release 1 (None)"]

    def test_what_is_stored_and_does_not_fit_the_code_waits_for_another(self) -> None:
        run = ordered()
        row = step_of(run, "tests.reserve")
        misfit = {**(row.input or {}), "data": {"number": "one"}}
        StepRun.objects.filter(pk=row.pk).update(input=misfit)
        (found,) = check_inflight().findings
        assert (found.problem, found.step) == (Problem.STEP_INPUT, "tests.reserve")
        assert run_one(run) == "PAYLOAD"
        assert step_of(run, "tests.reserve").state == "ready"
        assert WORLD == []

    def test_a_best_effort_reaction_turns_nothing_back(self) -> None:
        run = drive(ordered(watch="permanent"))
        assert run.is_completed
        assert run.has_warnings

    def test_a_circle_ends_and_is_undone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trace, "MAX_STEPS", 7)
        run = drive(publish("Circle", 1, key="k"))
        assert run.state == SagaState.COMPENSATED
        assert run.error_code == "TRACE_TOO_LONG"
        assert [
            *("turn 1", "turn 2", "turn 3"),
            *("turn back 3", "turn back 2", "turn back 1"),
        ] == WORLD

    def test_so_does_a_long_chain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(trace, "MAX_DEPTH", 3)
        run = drive(publish("Circle", 1, key="k"))
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "TRACE_TOO_LONG")
        assert len(WORLD) == 8

    def test_a_doubt_is_asked_about_and_the_answer_publishes(self) -> None:
        run = ordered()
        run_one(run)
        expire_lease(claimed(run, "tests.charge").pk)
        sweep(worker="w")
        assert drive(run).is_completed
        assert "charge" not in WORLD
        assert rows(run).count("Paid") == 1


class TestWaiting:
    def test_a_reaction_may_wait_and_is_answered(self) -> None:
        run = ordered(charge="wait")
        run_one(run)
        run_one(run, "tests.charge")
        complete_step(run, "tests.charge", result=Receipt("phone"), reason="told")
        run = drive(run)
        assert run.is_completed
        assert rows(run) == ALL[:5]

    def test_not_after_it_has_published(self) -> None:
        run = drive(ordered(reserve="wait"))
        assert run.state == SagaState.COMPENSATED
        assert run.error_code == "EVENTS_BEFORE_WAIT"
        assert WORLD == ["reserve", "release 1 (None)"]


class TestRefusals:
    def test_a_key_is_needed(self) -> None:
        with pytest.raises(IdempotencyRequired, match="needs a key"):
            publish("Ordered", Order(1))
        assert nothing_is_written()

    @pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 61, "é", None, 7])
    def test_a_name_that_is_none(self, name: Any) -> None:
        with pytest.raises(PayloadError, match="an event's name is"):
            publish(name, 1, key="k")

    @pytest.mark.parametrize("key", ["\x00", "x" * 201, 7])
    def test_a_key_that_is_none(self, key: Any) -> None:
        with pytest.raises(PayloadError, match="the key of"):
            publish("Ordered", Order(1), key=key)

    @pytest.mark.parametrize("data", [{"number": "one"}, 5, object(), "\x00", float("nan")])
    def test_data_that_does_not_fit(self, data: Any) -> None:
        with pytest.raises(PayloadError):
            publish("Ordered", data, key="k")
        assert nothing_is_written()

    def test_reactions_are_not_started_as_a_saga(self) -> None:
        with pytest.raises(SagaDefinitionError, match="publish it instead"):
            start_saga("events.Ordered", {})

    def test_a_trace_is_not_rewound(self) -> None:
        run = ordered()
        run_one(run)
        for name in ("tests.reserve", "Ordered"):
            with pytest.raises(ActionNotAllowed, match="publish once more"):
                rewind_saga(fresh(run), name, reason="again")

    def test_a_reaction_that_is_gone_waits_for_its_code(self) -> None:
        run = ordered()
        row = step_of(run, "tests.reserve")
        StepRun.objects.filter(pk=row.pk).update(options={**row.options, "declared": "tests.gone"})
        assert run_one(run) == "UNKNOWN_HANDLER"
        assert step_of(run, "tests.reserve").state == "ready"


def test_a_reaction_can_be_called_in_a_unit_test() -> None:
    with collected_events() as events:
        assert charge(Event(Order(3))) == Receipt("charge")
    assert [(event.name, event.data) for event in events] == [("Paid", {"number": 3, "script": {}})]


def test_the_admin_shows_each_event_and_what_was_undone_in_order(admin_client: Client) -> None:
    run = drive(ordered(ship="event"))
    page = admin_client.get(reverse("admin:sagas_sagarun_change", args=[run.pk])).content.decode()
    shown = re.findall(r'saga-name">([\w.]+)', page)
    assert shown[:8] == [*ALL[:-1], "NoCarrier"]
    assert shown[8:10] == ["refund", "release"]
    queues = re.findall(r'<td class="saga-text">([\w.]*)</td>', page)
    assert [queue for queue in queues if queue][:2] == ["stock", "money"]
