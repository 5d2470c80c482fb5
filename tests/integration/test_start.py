"""start_saga(): at once, with its caller or not at all, once per key (R4, R5, R7, R61)."""

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import transaction

from sagas import Saga, astart_saga, start_saga, step
from sagas.engine import dispatch, recover
from sagas.engine.publishing import Publisher
from sagas.exceptions import SagaConflict
from sagas.models import SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState, StepState
from tests.driving import drive, fresh, nothing_is_written, step_of
from tests.races import together
from tests.traced import CALLS, Five, Script
from tests.typed import PARCEL, SEEN, STAMP, Parcel, TwoDoors, Typed, Words


pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _nothing_seen(messages: list[str]) -> None:
    SEEN.clear()


class Changed(Exception):
    """The caller changes its mind."""


@dataclass(frozen=True)
class Box:
    numbers: frozenset[int]


class Packed(Saga[Box]):
    """One step, and an input whose members have no order."""

    class Meta:
        label = "tests.Packed"

    @step
    def only(self) -> None:
        """Nothing."""

    only.no_compensation("nothing happens")


def start_and_change_ones_mind() -> None:
    with transaction.atomic():
        Group.objects.create(name="order")
        start_saga(Five, Script(), key="lost")
        raise Changed


class Bare(Saga[None]):
    """A saga that needs no input."""

    class Meta:
        label = "tests.Bare"

    @step
    def only(self) -> bool:
        return self.input is None

    only.no_compensation("nothing happens")


class TestStarting:
    def test_a_saga_may_need_no_input(self) -> None:
        run = drive(start_saga(Bare, None, key="k"))
        assert run.is_completed
        assert step_of(run, "only").output is True

    def test_a_start_returns_a_running_saga_whose_first_step_has_not_run(self) -> None:
        run = start_saga(Five, Script(), key="k")
        assert run.pk is not None
        assert (run.state, run.created) == (SagaState.RUNNING, True)
        assert step_of(run, "a").state == StepState.READY
        assert run.completed_at is None
        assert CALLS == []

    def test_async_callers_start_a_saga_too(self, messages: list[str]) -> None:
        run = async_to_sync(astart_saga)(Five, Script(), key="k")
        assert fresh(run).state == SagaState.RUNNING
        assert messages == ["sagas.tests.Five.a"]

    def test_text_with_html_is_stored_and_seen_verbatim(self) -> None:
        text = "<script>alert('é')</script> & \"quotes\""
        run = drive(start_saga(TwoDoors, Words(text), key=text))
        assert run.input == {"text": text}
        assert (run.key, run.error) == (text, text)
        assert step_of(run, "left").error == text


class TestPayload:
    def test_every_handler_sees_the_same_value_on_each_attempt(self) -> None:
        given = replace(PARCEL, fails_at="third")
        run = drive(start_saga(Typed, given))
        assert run.state == SagaState.COMPENSATED
        inputs = [(what, value) for what, value in SEEN if isinstance(value, Parcel)]
        expected = ["first", "first", "second", "third", "undo_second", "undo_first", "undo_first"]
        assert [what for what, _ in inputs] == expected
        for _, value in inputs:
            assert value == given
            assert value.ordered_at.isoformat() == given.ordered_at.isoformat()
            assert str(value.total) == "10.10"
            assert repr(value.items) == repr(given.items)

    def test_a_result_reaches_later_steps_and_its_compensation_as_it_was_returned(self) -> None:
        drive(start_saga(Typed, replace(PARCEL, fails_at="third")))
        results = [(what, value) for what, value in SEEN if what.endswith(" got")]
        assert results == [
            ("second got", STAMP),
            ("third got", STAMP),
            ("undo_second got", (Decimal("1.00"),)),
            ("undo_first got", STAMP),
            ("undo_first got", STAMP),
        ]
        assert str(results[0][1].amount) == "0.30"
        assert results[0][1].at.microsecond == 1

    def test_a_compensation_is_told_why_the_saga_turned_back(self) -> None:
        drive(start_saga(Typed, replace(PARCEL, fails_at="third")))
        assert ("cause", ("third", "PERMANENT", "third refused")) in SEEN

    def test_a_label_and_plain_data_are_the_same_start(self) -> None:
        typed = start_saga(Typed, PARCEL)
        by_label = start_saga("tests.Typed", typed.input or {})
        assert (by_label.pk, by_label.created) == (typed.pk, False)


class TestCallersTransaction:
    def test_a_rollback_of_the_caller_leaves_nothing_and_sends_nothing(
        self, messages: list[str]
    ) -> None:
        with pytest.raises(Changed):
            start_and_change_ones_mind()
        assert nothing_is_written()
        assert not Group.objects.exists()
        assert messages == []

    def test_a_commit_of_the_caller_sends_one_message_per_ready_step(
        self, messages: list[str]
    ) -> None:
        with transaction.atomic():
            start_saga(TwoDoors, Words("x"), key="k")
            assert messages == []
        assert messages == ["sagas.tests.TwoDoors.left", "sagas.tests.TwoDoors.right"]

    def test_a_rolled_back_savepoint_takes_its_message_along(self, messages: list[str]) -> None:
        with transaction.atomic():
            with pytest.raises(Changed):
                start_and_change_ones_mind()
            start_saga(Five, Script(), key="kept")
        assert SagaRun.objects.get().key == "kept"
        assert messages == ["sagas.tests.Five.a"]

    def test_a_broker_that_fails_does_not_fail_the_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(message: object) -> None:
            raise OSError("no broker")

        publisher = Publisher()
        monkeypatch.setattr(publisher, "_publish", refuse)
        monkeypatch.setattr(dispatch, "_publisher", publisher)
        run = start_saga(Five, Script(), key="k")
        assert step_of(run, "a").state == StepState.READY
        assert drive(run).state == SagaState.COMPLETED

    def test_the_sweep_finds_what_a_dead_broker_did_not_take(self, messages: list[str]) -> None:
        run = start_saga(Five, Script(), key="k")
        messages.clear()
        StepRun.objects.filter(run=run).update(send_at=run.deadline)
        assert recover.sweep().sent == 0
        StepRun.objects.filter(run=run, state="ready").update(send_at=fresh(run).created_at)
        assert recover.sweep().sent == 1
        assert messages == ["sagas.tests.Five.a"]


class TestKey:
    def test_the_same_key_and_input_is_the_same_run(self, messages: list[str]) -> None:
        first = start_saga(Five, Script({"a": "bug"}), key="k")
        again = start_saga(Five, Script({"a": "bug"}), key="k")
        assert (first.created, again.created) == (True, False)
        assert again.pk == first.pk
        assert StepRun.objects.count() == 5
        assert messages == ["sagas.tests.Five.a"]

    @pytest.mark.parametrize(("verb", "outcome"), [("cancel", "cancelled"), ("fail", "failed")])
    def test_a_key_stays_taken_when_its_saga_was_undone_and_the_next_try_has_its_own(
        self, messages: list[str], verb: str, outcome: str
    ) -> None:
        script = Script({"b": "bug"} if verb == "fail" else {})
        first = start_saga(Five, script, key="order-42/1")
        if verb == "cancel":
            cancel_saga(first, reason="no longer wanted")
        drive(first)
        messages.clear()
        again = start_saga(Five, script, key="order-42/1")
        assert (again.pk, again.created, again.outcome) == (first.pk, False, outcome)
        assert again.is_compensated
        assert messages == []
        second = start_saga(Five, Script(), key="order-42/2")
        assert second.created
        assert drive(second).is_completed
        assert list(SagaRun.objects.search("order-42/")) == [second, first]

    def test_a_saga_that_has_ended_is_found_by_its_key(self, messages: list[str]) -> None:
        first = drive(start_saga(Five, Script(), key="k"))
        messages.clear()
        again = start_saga(Five, Script(), key="k")
        assert (again.pk, again.state, again.created) == (first.pk, SagaState.COMPLETED, False)
        assert messages == []

    def test_a_set_in_another_order_is_the_same_input(self) -> None:
        first = start_saga(Packed, Box(frozenset([0, 8])), key="k")
        again = start_saga(Packed, Box(frozenset([8, 0])), key="k")
        assert (again.pk, again.created) == (first.pk, False)

    def test_the_same_key_of_another_saga_is_another_run(self) -> None:
        start_saga(Five, Script(), key="k")
        assert start_saga(TwoDoors, Words("x"), key="k").created

    def test_another_input_is_a_conflict_and_the_callers_transaction_stays_usable(
        self, messages: list[str]
    ) -> None:
        first = start_saga(Five, Script(), key="k")
        messages.clear()
        with transaction.atomic():
            Group.objects.create(name="before")
            with pytest.raises(SagaConflict, match="use another key") as caught:
                start_saga(Five, Script({"a": "bug"}), key="k")
            Group.objects.create(name="after")
        assert caught.value.code == "SAGA_CONFLICT"
        assert (caught.value.run_id, caught.value.key) == (first.pk, "k")
        assert Group.objects.count() == 2
        assert SagaRun.objects.count() == 1
        assert StepRun.objects.count() == 5
        assert fresh(first).input == {"faults": {}}
        assert messages == []

    def test_fifty_starts_at_once_make_one_run(self, messages: list[str]) -> None:
        runs = together(*[lambda: start_saga(Five, Script(), key="k")] * 50)
        assert [r for r in runs if isinstance(r, Exception)] == []
        assert sum(run.created for run in runs) == 1
        assert len({run.pk for run in runs}) == 1
        assert SagaRun.objects.count() == 1
        assert StepRun.objects.count() == 5
        assert messages == ["sagas.tests.Five.a"]

    def test_fifty_starts_at_once_with_different_inputs_leave_one_run_and_49_conflicts(
        self,
    ) -> None:
        starts = [lambda n=n: start_saga(Five, Script({"a": str(n)}), key="k") for n in range(50)]
        answers = together(*starts)
        assert sum(isinstance(a, SagaRun) and a.created for a in answers) == 1
        assert sum(isinstance(a, SagaConflict) for a in answers) == 49
        assert SagaRun.objects.count() == 1
