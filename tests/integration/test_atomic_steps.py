"""``atomic=True``: effect, outcome and successor in one transaction, exactly once (R44, section 7).

The effects are rows of Django's own ``Group``.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from sagas import OutcomeUnknown, PermanentError, Saga, start_saga, step
from sagas.engine import recover
from sagas.engine.execute import InPlaceBudget, _execute_claimed, execute
from sagas.engine.transitions import Claimant, claim
from sagas.models import SagaRun
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, expire_lease, fresh, run_one, states, step_of


pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Plan:
    """What goes wrong after the handler has written."""

    fault: str = ""
    undo_fault: str = ""


DURING: list[Callable[[], object]] = []
"""What happens elsewhere while the handler runs."""

IN_TRANSACTION: dict[str, bool] = {}
"""Where each handler ran."""


class Booked(Saga[Plan]):
    """A row, and a last step that can fail."""

    class Meta:
        label = "tests.Booked"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    def write(self, name: str, fault: str) -> None:
        Group.objects.create(name=name)
        for act in DURING:
            act()
        if fault == "permanent":
            message = "refused after writing"
            raise PermanentError(message)
        if fault == "network":
            raise ConnectionError
        if fault == "unknown":
            raise OutcomeUnknown
        if fault == "constraint":
            Group.objects.create(name=name)
        if fault == "swallowed constraint":
            with suppress(IntegrityError):
                Group.objects.create(name=name)

    @step(atomic=True)
    def book(self) -> int:
        IN_TRANSACTION["book"] = connection.in_atomic_block
        fault = self.input.fault
        if fault == "result":
            Group.objects.create(name="booked")
            return "no number"  # type: ignore[return-value]
        self.write("booked", "" if fault == "last" else fault)
        return Group.objects.get(name="booked").pk

    @book.compensation(atomic=True, max_retries=1, retry_jitter=False)
    def unbook(self, group_id: int | None) -> None:
        assert group_id is not None
        Group.objects.filter(pk=group_id).delete()
        self.write("reversed", self.input.undo_fault)

    @step
    def last(self) -> None:
        IN_TRANSACTION["last"] = connection.in_atomic_block
        if self.input.fault == "last":
            message = "last refused"
            raise PermanentError(message)

    last.no_compensation("it is the last")


@pytest.fixture(autouse=True)
def _nothing_else(messages: list[str]) -> None:
    DURING.clear()


def booked(fault: str = "", undo_fault: str = "") -> SagaRun:
    return start_saga(Booked, Plan(fault, undo_fault), key="k")


def groups() -> set[str]:
    return set(Group.objects.values_list("name", flat=True))


class TestOneTransaction:
    def test_effect_outcome_and_successor_are_committed_together(self) -> None:
        run = booked()
        with CaptureQueriesContext(connection) as captured:
            run_one(run)
        texts = [query["sql"] for query in captured]
        effect = next(n for n, text in enumerate(texts) if 'INSERT INTO "auth_group"' in text)
        outcome = next(n for n, text in enumerate(texts) if "step_succeeded" in text)
        assert outcome > effect
        assert not {"COMMIT", "BEGIN"} & set(texts[effect:outcome])
        assert states(run) == {"book": "succeeded", "last": "ready"}
        assert drive(run).state == SagaState.COMPLETED
        assert groups() == {"booked"}

    def test_nothing_is_sent_before_the_commit(self, messages: list[str]) -> None:
        run = booked()
        messages.clear()
        DURING.append(lambda: messages.append("the handler runs"))
        run_one(run)
        assert messages == ["the handler runs", "sagas.tests.Booked.last"]

    def test_a_step_that_is_not_atomic_runs_outside_of_any_transaction(self) -> None:
        run = booked()
        drive(run)
        assert IN_TRANSACTION == {"book": True, "last": False}


class TestFailureAfterWriting:
    @pytest.mark.parametrize(
        ("fault", "code", "attempts"),
        [
            ("permanent", "PERMANENT", 1),
            ("network", "ConnectionError", 2),
            ("unknown", "OUTCOME_UNKNOWN", 1),
            ("constraint", "IntegrityError", 1),
            ("result", "PAYLOAD", 1),
        ],
    )
    def test_a_failure_leaves_nothing_and_definitely_did_not_happen(
        self, fault: str, code: str, attempts: int
    ) -> None:
        run = drive(booked(fault))
        row = step_of(run, "book")
        assert groups() == set()
        assert (row.state, row.error_code, row.attempt) == (StepState.FAILED, code, attempts)
        assert not row.in_doubt
        assert run.state == SagaState.COMPENSATED
        assert not run.steps.backward().exists()

    def test_a_database_error_that_the_handler_swallowed_is_a_failure_too(self) -> None:
        run = drive(booked("swallowed constraint"))
        assert step_of(run, "book").state == StepState.FAILED
        assert groups() == set()

    def test_an_attempt_that_passes_leaves_its_effect_once(self) -> None:
        run = booked("network")
        run_one(run)
        SagaRun.objects.filter(pk=run.pk).update(input={"fault": ""})
        assert drive(run).state == SagaState.COMPLETED
        assert groups() == {"booked"}
        assert step_of(run, "book").attempt == 2


class TestAtomicCompensation:
    def test_a_compensation_and_its_outcome_are_one_transaction_too(self) -> None:
        run = drive(booked("last"))
        assert run.state == SagaState.COMPENSATED
        assert groups() == {"reversed"}

    def test_what_a_failing_compensation_wrote_is_taken_back(self) -> None:
        run = drive(booked("last", undo_fault="permanent"))
        assert run.state == SagaState.DEAD_LETTER
        assert groups() == {"booked"}
        assert step_of(run, "book", direction="backward").state == StepState.FAILED


class TestLostLease:
    def test_the_outcome_is_not_written_and_the_effect_is_rolled_back(self) -> None:
        run = booked()
        row = step_of(run, "book")
        attempt = claim(row.pk, row.fence, task_id="", worker="")
        assert attempt is not None
        expire_lease(row.pk)
        recover.sweep()
        assert step_of(run, "book").state == StepState.READY
        budget = InPlaceBudget(Claimant(), in_place=False)
        assert _execute_claimed(attempt, budget) == ("late", None)
        assert groups() == set()
        assert run.events.filter(type=EventType.STEP_LATE).count() == 1
        assert drive(run).state == SagaState.COMPLETED
        assert groups() == {"booked"}

    def test_a_lost_worker_is_a_definite_failure(self) -> None:
        run = booked()
        for _ in range(2):
            row = step_of(run, "book")
            assert claim(row.pk, row.fence, task_id="", worker="")
            expire_lease(row.pk)
            recover.sweep()
        row = step_of(run, "book")
        assert (row.state, row.error_code, row.in_doubt) == ("failed", "WORKER_LOST", False)
        assert fresh(run).state == SagaState.COMPENSATED
        assert not run.steps.backward().exists()

    def test_a_doubled_message_has_its_effect_once(self) -> None:
        run = booked()
        row = step_of(run, "book")
        assert execute(row.pk, row.fence) == "succeeded"
        assert execute(row.pk, row.fence) == "not claimed"
        assert groups() == {"booked"}
