"""A step that another code base does: asked by a message, answered by its callbacks (R85, R117)."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.utils.serialization import create_exception_cls
from kombu.exceptions import OperationalError

from sagas import Saga, remote, start_saga
from sagas.engine.recover import sweep
from sagas.exceptions import RequestNotSent
from sagas.models import SagaEvent
from sagas.operations import cancel_saga, pause_saga, resume_saga
from sagas.states import SagaState, StepState
from sagas.testing import assert_every_failure_is_undone, remote_tasks, run_saga
from tests.driving import drive, everything, expire_lease, fresh, run_one, states, step_of
from tests.remotes import AskedRemote, Order, Participant, Payment, Remote, started
from tests.traced import CALLS
from tests.waits import run_out


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

PAID = {"id": "p-1", "cents": 500}


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Participant:
    """The other code base."""
    participant = Participant()
    monkeypatch.setattr("sagas.engine.dispatch.send_or_raise", participant.take)
    monkeypatch.setattr("sagas.remote_tasks.answers.what_failed", lambda _: participant.known)
    return participant


def foreign(name: str, text: str = "no") -> BaseException:
    """An error of a class that only the other code base has, as Celery makes it from a result."""
    made: BaseException = create_exception_cls(name, "celery.exceptions")(text)
    return made


class TestTheRequest:
    def test_has_the_arguments_the_key_and_nothing_else_of_ours(self, other: Participant) -> None:
        run = started()
        row = step_of(run, "charge")
        (message,) = other.sent
        assert (message.task, message.destination) == ("payments.charge", {"queue": "payments"})
        arguments = {"order": "order-1", "key": row.idempotency_key}
        assert (message.args, message.kwargs) == ([], arguments)
        assert message.headers() == {"saga_idempotency_key": row.idempotency_key}
        assert message.expires == 60
        assert message.task_id == f"remote-{row.pk}-{row.fence}"
        assert row.input == arguments
        assert row.wait == {
            "kind": "remote",
            "note": "payments.charge on payments",
            "in_doubt": False,
        }
        assert "waits for the remote task payments.charge on payments" in run.explain()

    def test_has_the_same_arguments_on_every_attempt(self, other: Participant) -> None:
        run = started()
        other.fails(ConnectionError("no route"))
        drive(run)
        first, second = other.sent
        assert first.kwargs == second.kwargs
        assert first.headers() == second.headers()
        assert first.task_id != second.task_id
        assert CALLS.count("charge") == 1

    def test_is_made_again_when_the_broker_did_not_take_it(self, other: Participant) -> None:
        other.refuses = RequestNotSent("away", in_doubt=False)
        run = start_saga(Remote, Order(), key="k")
        run_one(run)
        run_one(run)
        row = step_of(run, "charge")
        assert (row.state, row.in_doubt) == (StepState.READY, False)
        assert row.error_code == "REQUEST_NOT_SENT"
        drive(run)
        assert states(run)["charge"] == StepState.FAILED
        assert fresh(run).state == SagaState.COMPENSATED
        assert "refund" not in CALLS

    def test_that_may_have_been_sent_leaves_doubt(self, other: Participant) -> None:
        other.refuses = RequestNotSent("cut", in_doubt=True)
        run = start_saga(Remote, Order(), key="k")
        run_one(run)
        run_one(run)
        assert step_of(run, "charge").in_doubt
        other.refuses = None
        drive(run)
        other.fails(foreign("CardDeclined"))
        assert states(run)["charge"] == StepState.UNKNOWN

    def test_whose_arguments_cannot_be_sent_is_a_definite_failure(self, other: Participant) -> None:
        class Wide(Saga[Order]):
            class Meta:
                label = "tests.Wide"

            @remote("payments.charge", queue="payments")
            def charge(self) -> dict[str, str]:
                return {"text": "x" * 300_000}

            charge.no_compensation("tried")

        run = started(Wide)
        assert (run.state, run.error_code) == (SagaState.COMPENSATED, "PAYLOAD_TOO_LARGE")
        assert not other.sent


class TestASuccess:
    def test_is_the_result_in_its_type_and_the_saga_goes_on(self, other: Participant) -> None:
        run = started(fails=False)
        assert other.returns(PAID) == "succeeded"
        assert drive(run).state == SagaState.COMPLETED
        assert step_of(run, "charge").output == PAID

    def test_that_comes_twice_changes_nothing(self, other: Participant) -> None:
        started()
        other.returns(PAID)
        before = everything()
        assert other.returns(PAID) == "succeeded"
        assert other.returns({**PAID, "cents": 1}) == "no news"
        assert other.fails(foreign("CardDeclined")) == "no news"
        assert everything() == before

    @pytest.mark.parametrize("junk", [None, "paid", {"id": 3}, {**PAID, "id": "x" * 300_000}])
    def test_that_does_not_fit_leaves_doubt(self, other: Participant, junk: object) -> None:
        run = started()
        assert other.returns(junk) in {"PAYLOAD", "PAYLOAD_TOO_LARGE"}
        assert states(run)["charge"] == StepState.UNKNOWN
        drive(run)
        assert other.sent[-1].args == [None, step_of(run, "charge").idempotency_key]

    def test_may_hold_what_celery_brings_besides_json(self, other: Participant) -> None:
        class Dated(Saga[Order]):
            class Meta:
                label = "tests.Dated"

            @remote("clock", queue="clocks", result=dict[str, datetime | Decimal])
            def charge(self) -> None:
                pass

            charge.no_compensation("tried")

        run = started(Dated)
        assert (other.sent[0].args, other.sent[0].kwargs) == ([], {})
        now = datetime(2026, 1, 2, tzinfo=UTC)
        other.returns({"at": now, "of": Decimal("1.50")})
        assert fresh(run).state == SagaState.COMPLETED

    def test_before_the_wait_began_is_kept(self, other: Participant) -> None:
        run = start_saga(Remote, Order(fails=False), key="k")
        run_one(run)
        other.then = lambda: other.returns(PAID)
        drive(run)
        assert fresh(run).state == SagaState.COMPLETED

    def test_after_the_time_out_is_undone_again(self, other: Participant) -> None:
        run = started()
        run_out(run, "charge")
        drive(run)
        assert other.sent[-1].args[0] is None
        other.returns(None)
        assert fresh(run).state == SagaState.COMPENSATING
        drive(run)
        assert fresh(run).state == SagaState.COMPENSATED
        assert other.returns(PAID, request=0) == "succeeded"
        drive(run)
        assert other.sent[-1].args[0] == "p-1"
        assert other.returns(None, request=1) == "no news"
        other.returns(None)
        assert drive(run).state == SagaState.COMPENSATED

    def test_that_does_not_fit_after_the_time_out_is_undone_again(self, other: Participant) -> None:
        run = started()
        run_out(run, "charge")
        drive(run)
        other.returns(None)
        assert drive(run).state == SagaState.COMPENSATED
        other.returns("junk", request=0)
        assert fresh(run).state == SagaState.COMPENSATING
        drive(run)
        other.returns(None)
        assert drive(run).state == SagaState.COMPENSATED

    def test_of_a_request_whose_process_died_before_it_waited_counts(
        self, other: Participant
    ) -> None:
        run = start_saga(Remote, Order(fails=False), key="k")
        run_one(run)
        other.then = sys.exit
        with pytest.raises(SystemExit):
            run_one(run, "charge")
        expire_lease(step_of(run, "charge").pk)
        sweep()
        assert states(run)["charge"] == StepState.READY
        other.returns(PAID)
        assert states(run)["charge"] == StepState.SUCCEEDED

    def test_while_the_saga_is_paused_is_recorded(self, other: Participant) -> None:
        run = started(fails=False)
        pause_saga(run, reason="look")
        other.returns(PAID)
        assert states(run)["charge"] == StepState.SUCCEEDED
        resume_saga(run, reason="seen")
        assert drive(run).state == SagaState.COMPLETED


class TestAFailure:
    def test_that_the_task_raised_is_definite(self, other: Participant) -> None:
        run = started()
        assert other.fails(foreign("CardDeclined", "no <b>funds</b>")) == "CardDeclined"
        row = step_of(run, "charge")
        assert (row.state, row.in_doubt) == (StepState.FAILED, False)
        assert fresh(run).error == "no <b>funds</b>"
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["reserve", "charge", "release"]

    def test_that_nobody_can_read_leaves_doubt(self, other: Participant) -> None:
        run = started()
        assert other.fails(None) == "REMOTE_OUTCOME_UNKNOWN"
        assert states(run)["charge"] == StepState.UNKNOWN
        drive(run)
        other.returns(None)
        drive(run)
        assert fresh(run).state == SagaState.COMPENSATED
        assert CALLS == ["reserve", "charge", "refund", "release"]

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (WorkerLostError("signal 9"), "WORKER_LOST"),
            (TimeLimitExceeded(5), "STEP_TIMEOUT"),
            (OperationalError("its result was not sent"), "REMOTE_OUTCOME_UNKNOWN"),
            (foreign("OperationalError"), "REMOTE_OUTCOME_UNKNOWN"),
        ],
    )
    def test_of_worker_or_broker_leaves_doubt(
        self, other: Participant, error: BaseException, code: str
    ) -> None:
        run = started()
        assert other.fails(error) == code
        assert states(run)["charge"] == StepState.UNKNOWN

    def test_that_another_attempt_may_cure_is_tried_again_and_stays_in_doubt(
        self, other: Participant
    ) -> None:
        run = started()
        other.fails(ConnectionResetError("again"))
        assert states(run)["charge"] == StepState.READY
        drive(run)
        assert step_of(run, "charge").wait["in_doubt"]  # type: ignore[index]
        other.fails(foreign("CardDeclined"))
        assert states(run)["charge"] == StepState.UNKNOWN

    def test_before_the_wait_began_is_kept(self, other: Participant) -> None:
        run = start_saga(Remote, Order(), key="k")
        run_one(run)
        other.then = lambda: other.fails(foreign("CardDeclined"))
        run_one(run, "charge")
        assert states(run)["charge"] == StepState.FAILED

    def test_that_another_attempt_may_cure_before_the_wait_began_is_kept(
        self, other: Participant
    ) -> None:
        run = start_saga(Remote, Order(fails=False), key="k")
        run_one(run)
        other.then = lambda: other.fails(ConnectionError("again"))
        run_one(run, "charge")
        assert states(run)["charge"] == StepState.READY
        other.then = None
        drive(run)
        other.returns(PAID)
        assert drive(run).state == SagaState.COMPLETED

    def test_of_an_earlier_request_says_nothing_of_the_later_one(self, other: Participant) -> None:
        run = started(AskedRemote)
        run_out(run, "charge")
        drive(run)
        before = everything()
        assert other.fails(foreign("CardDeclined"), request=0) == "no news"
        assert everything() == before

    def test_of_a_task_that_was_delivered_twice_does_not_silence_the_success(
        self, other: Participant
    ) -> None:
        run = started()
        other.fails(foreign("LockHeld"))
        assert drive(run).state == SagaState.COMPENSATED
        assert other.returns(PAID) == "succeeded"
        drive(run)
        assert other.sent[-1].args[0] == "p-1"
        other.returns(None)
        assert drive(run).state == SagaState.COMPENSATED
        assert states(run)["charge"] == StepState.COMPENSATED

    def test_without_a_word_is_asked_about(self, other: Participant) -> None:
        run = started(AskedRemote)
        other.fails(None)
        drive(run)
        assert CALLS == ["find", "refund None"]

    def test_of_a_lost_worker_that_did_nothing_is_found_by_reconcile(
        self, other: Participant
    ) -> None:
        run = started(AskedRemote)
        other.fails(WorkerLostError("signal 9"))
        drive(run)
        assert states(run)["charge"] == StepState.FAILED
        assert CALLS == ["find"]


class TestTurningBack:
    def test_a_remote_compensation_gets_the_result_and_the_key(self, other: Participant) -> None:
        run = started()
        other.returns(PAID)
        drive(run)
        refund = other.sent[-1]
        assert refund.task == "payments.refund"
        key = step_of(run, "charge").idempotency_key
        assert refund.args == ["p-1", key]
        assert refund.headers() == {"saga_idempotency_key": f"{key}:undo"}
        assert states(run)["reserve"] == StepState.SUCCEEDED
        other.returns({"whatever": "it says"})
        assert drive(run).state == SagaState.COMPENSATED
        assert CALLS == ["reserve", "charge", "ship", "refund", "release"]

    def test_one_that_fails_is_a_dead_letter(self, other: Participant) -> None:
        run = started()
        other.returns(PAID)
        drive(run)
        other.fails(foreign("NoSuchPayment"))
        assert fresh(run).state == SagaState.DEAD_LETTER

    def test_one_that_is_lost_is_tried_again_and_then_a_dead_letter(
        self, other: Participant
    ) -> None:
        run = started()
        other.returns(PAID)
        drive(run)
        other.fails(None)
        drive(run)
        assert [message.task for message in other.sent].count("payments.refund") == 2
        other.fails(None)
        assert fresh(run).state == SagaState.DEAD_LETTER

    def test_a_cancelled_saga_waits_no_longer(self, other: Participant) -> None:
        run = started()
        cancel_saga(run, reason="asked")
        drive(run)
        assert other.sent[-1].args[0] is None
        other.returns(None)
        assert drive(run).state == SagaState.CANCELLED


class TestTests:
    """Of a project: nothing is sent, and a function stands for the other code base."""

    def test_the_method_returns_the_arguments(self) -> None:
        saga = Remote(Order("o"), results={"charge": Payment("p", 1)})
        assert saga.charge() == {"order": "o", "key": "rehearsed"}
        assert saga.charge.result == Payment("p", 1)

    def test_without_a_stand_in_it_waits(self) -> None:
        run = run_saga(start_saga(Remote, Order(), key="k"))
        assert states(run)["charge"] == StepState.WAITING

    def test_a_stand_in_does_it(self) -> None:
        undone = []
        stand_ins: dict[str, Any] = {
            "payments.charge": lambda order, key: {"id": order + key[:0], "cents": 1},
            "payments.refund": lambda *args: undone.append(args[0]),
        }
        with remote_tasks(stand_ins):
            run = run_saga(start_saga(Remote, Order(), key="k"))
            assert run.is_compensated
            assert undone == ["order-1"]
            assert_every_failure_is_undone(Remote, Order(fails=False), start=None)


def test_an_answer_to_a_saga_that_was_purged_is_no_error(other: Participant) -> None:
    run = started()
    SagaEvent.objects.filter(run=run).delete()
    run.steps.all().delete()
    assert other.returns(PAID) == "purged"
    assert other.fails() == "purged"
