"""``manage.py saga``: what an operator does to a run, or to a step of it."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from sagas.models import SagaEvent, SagaRun
from sagas.states import SagaState
from tests.factories import make_dead_letter, make_run, make_running, make_waiting


pytestmark = pytest.mark.django_db


def saga(*arguments: str) -> str:
    out = StringIO()
    call_command("saga", *arguments, stdout=out)
    return out.getvalue()


class TestVerbsOfTheCommand:
    @pytest.mark.parametrize(
        ("verb", "state"),
        [("retry", SagaState.RUNNING), ("resolve", SagaState.RESOLVED)],
    )
    def test_a_dead_letter_takes_each_of_its_verbs(self, verb: str, state: SagaState) -> None:
        make_dead_letter()
        assert saga(verb, "order-1", "--reason", "carrier is back") == f"order-1: {state.value}\n"
        event = SagaEvent.objects.get(actor__startswith="cli:")
        assert event.note == "carrier is back"

    @pytest.mark.parametrize("verb", ["cancel", "compensate"])
    def test_a_running_saga_takes_each_of_its_verbs(self, verb: str) -> None:
        make_running()
        assert saga(verb, "order-1", "--reason", "a mistake") == "order-1: compensating\n"

    def test_a_completed_saga_is_reverted(self) -> None:
        make_run(SagaState.COMPLETED)
        assert saga("revert", "order-1", "--reason", "returned") == "order-1: compensated\n"

    def test_a_running_saga_is_paused_and_resumed(self) -> None:
        make_running()
        assert (
            saga("pause", "order-1", "--reason", "gateway is down") == "order-1: running, paused\n"
        )
        assert SagaRun.objects.get().paused_at is not None
        saga("resume", "order-1", "--reason", "gateway is back")
        assert SagaRun.objects.get().paused_at is None

    def test_the_step_that_stopped_a_dead_letter_is_retried(self) -> None:
        make_dead_letter()
        text = saga("retry-step", "order-1", "create_shipment", "--reason", "carrier is back")
        assert text == "order-1: running\n"

    def test_the_step_that_stopped_a_dead_letter_is_skipped_with_a_result_in_json(self) -> None:
        run = make_dead_letter()
        skip = ("skip-step", "order-1", "create_shipment", "--reason", "shipped by hand")
        with pytest.raises(CommandError, match="--result is not valid JSON"):
            saga(*skip, "--result", "nonsense")
        with pytest.raises(CommandError, match="result of create_shipment"):
            saga(*skip, "--result", '{"tracking": 1}')
        shipment = {"tracking": "T-1"}
        assert saga(*skip, "--result", json.dumps(shipment)) == "order-1: completed\n"
        assert run.steps.get(name="create_shipment").output == shipment

    def test_the_step_that_stopped_a_dead_letter_is_skipped_without_a_result(self) -> None:
        make_dead_letter()
        text = saga("skip-step", "order-1", "create_shipment", "--reason", "not needed")
        assert text == "order-1: completed\n"

    def test_a_step_that_waits_is_completed_with_a_result_in_json(self) -> None:
        run = make_waiting(remaining=2)
        complete = ("complete-step", "order-1", "process_payment", "--reason", "webhook 17")
        with pytest.raises(CommandError, match="result of process_payment"):
            saga(*complete)
        payment = {"reference": "P-1", "amount": "42.00"}
        assert saga(*complete, "--result", json.dumps(payment)) == "order-1: running\n"
        assert run.steps.get(name="process_payment").output == payment

    def test_a_step_that_waits_is_failed_with_an_error(self) -> None:
        run = make_waiting()
        fail = ("fail-step", "order-1", "process_payment", "--reason", "webhook 18")
        with pytest.raises(CommandError, match="--error"):
            saga(*fail)
        text = saga(*fail, "--error", "card declined", "--code", "CARD_DECLINED")
        assert text == "order-1: compensated\n"
        run.refresh_from_db()
        assert (run.error_code, run.error) == ("CARD_DECLINED", "card declined")

    def test_a_step_that_needs_nothing_is_refused(self) -> None:
        make_dead_letter()
        with pytest.raises(CommandError, match="process_payment is succeeded"):
            saga("retry-step", "order-1", "process_payment", "--reason", "hope")

    def test_a_refusal_names_the_state(self) -> None:
        make_running()
        with pytest.raises(CommandError, match="is running"):
            saga("retry", "order-1", "--reason", "hope")

    def test_one_refusal_does_not_stop_the_others(self) -> None:
        make_running("a")
        make_dead_letter("b")
        with pytest.raises(CommandError, match="is running") as caught:
            saga("retry", "a", "no-such", "b", "--reason", "carrier is back")
        assert "No saga has the id or key 'no-such'" in str(caught.value)
        assert SagaRun.objects.get(key="b").state == SagaState.RUNNING

    def test_a_reason_is_required(self) -> None:
        with pytest.raises(CommandError, match="--reason"):
            saga("retry", "order-1")
