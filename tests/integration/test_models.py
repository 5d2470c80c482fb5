"""What a run and its steps hold, and what can be asked of them (R2, R3, R16-R18, R62, R67)."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from sagas import start_saga
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.operations import cancel_saga
from sagas.states import SagaState
from tests.driving import drive, fresh, run_one, step_of
from tests.factories import make_dead_letter, make_run, make_running, make_step
from tests.traced import Diamond, Five, Receipt, Script


pytestmark = pytest.mark.django_db


def five(**faults: str) -> SagaRun:
    return start_saga(Five, Script(faults), key="k")


def cancelled(*, before: bool = False) -> SagaRun:
    run = five()
    run_one(run)
    cancel_saga(run, reason="x")
    return run if before else drive(run)


class TestFields:
    def test_a_run_has_all_that_is_asked_of_it(self) -> None:
        names = {field.name for field in SagaRun._meta.get_fields()}
        assert names >= {
            "id",
            "label",
            "state",
            "steps",
            "events",
            "input",
            "created_at",
            "updated_at",
            "completed_at",
            "failed_step",
            "error_code",
            "error",
            "compensation_error",
            "failed_at",
            "retry_count",
        }

    def test_a_step_has_all_that_is_asked_of_it(self) -> None:
        names = {field.name for field in StepRun._meta.get_fields()}
        assert names >= {
            "id",
            "name",
            "handler",
            "compensation",
            "input",
            "output",
            "state",
            "error",
            "error_code",
            "attempt",
            "task_id",
            "idempotency_key",
            "started_at",
            "ended_at",
            "lease_until",
        }

    def test_a_run_that_is_not_over_has_no_end(self) -> None:
        run = five(b="permanent")
        for _ in range(2):
            run_one(run)
            assert fresh(run).completed_at is None
        assert drive(run).completed_at is not None

    def test_a_failed_compensation_stands_beside_the_original_error(self) -> None:
        run = drive(five(c="permanent", undo_b="permanent"))
        assert (run.failed_step, run.error) == ("c", "c refused")
        assert run.compensation_error == "undo_b: undo_b refused"
        assert run.failed_at is not None


class TestQuestions:
    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (five, set()),
            (lambda: drive(five()), {"is_completed", "is_final"}),
            (lambda: cancelled(before=True), {"is_compensating"}),
            (lambda: drive(five(b="permanent")), {"is_failed", "is_compensated", "is_final"}),
            (cancelled, {"is_compensated", "is_final"}),
            (lambda: drive(five(b="permanent", undo_a="permanent")), {"is_failed"}),
        ],
        ids=["running", "completed", "compensating", "compensated", "cancelled", "dead letter"],
    )
    def test_a_run_says_where_it_is(self, make: Callable[[], SagaRun], words: set[str]) -> None:
        run = fresh(make())
        asked = ["is_completed", "is_failed", "is_compensating", "is_compensated", "is_final"]
        assert {word for word in asked if getattr(run, word)} == words

    def test_an_id_that_is_none_is_not_found(self) -> None:
        with pytest.raises(SagaRun.DoesNotExist):
            SagaRun.objects.get(pk=uuid4())

    def test_rows_and_events_say_in_a_word_what_they_are(self) -> None:
        run = drive(five(b="permanent"))
        assert str(run) == "tests.Five k"
        assert str(step_of(run, "a")) == "a"
        assert str(step_of(run, "a", direction="backward")) == "undo of a"
        assert str(run.events.first()) == "started →running"


class TestQuerySets:
    def test_each_word_finds_its_runs(self) -> None:
        runs = {state: make_run(state, key=state) for state in SagaState}
        warned = make_run(SagaState.COMPLETED, key="warned", has_warnings=True)
        found = {
            "active": {"running", "compensating"},
            "finished": {"completed", "compensated", "cancelled", "resolved", "warned"},
            "needs_attention": {"dead_letter", "warned"},
        }
        for word, keys in found.items():
            assert {run.key for run in getattr(SagaRun.objects, word)()} == keys
        assert len(runs) + 1 == SagaRun.objects.count()
        assert warned.outcome == "completed"

    def test_stale_is_what_is_active_and_has_not_moved(self) -> None:
        hour_ago = timezone.now() - timedelta(hours=1)
        for key in ("still", "moving", "over"):
            make_run(SagaState.COMPLETED if key == "over" else SagaState.RUNNING, key=key)
            make_step(SagaRun.objects.get(key=key), "only")
        SagaRun.objects.update(updated_at=hour_ago)
        StepRun.objects.exclude(run__key="moving").update(updated_at=hour_ago)
        found = SagaRun.objects.stale(before=timezone.now() - timedelta(minutes=10))
        assert [run.key for run in found] == ["still"]

    @pytest.mark.postgres
    def test_search_finds_by_key_id_and_tag(self) -> None:
        run = make_run(key="order-1", tags={"customer": "c-7"})
        make_run(key="order-2", tags={"customer": "c-8"})
        for text in ("order-1", " order-1 ", str(run.pk), "customer=c-7"):
            assert [found.key for found in SagaRun.objects.search(text)] == ["order-1"]
        assert SagaRun.objects.search("order-").count() == 2
        assert not SagaRun.objects.search("rder").exists()


class TestWaitingForARun:
    def test_returns_when_no_worker_is_needed_any_more(self) -> None:
        run = five()
        drive(run)
        assert run.wait(timeout=1).state == SagaState.COMPLETED

    def test_gives_up_with_an_explanation(self) -> None:
        with pytest.raises(TimeoutError, match=r"still running after 0.02 s: .* a is ready"):
            five().wait(timeout=0.02, interval=0.01)


class TestExplanations:
    def test_a_run_that_goes_forward_is_explained(self) -> None:
        assert make_running().explain().startswith("Going forward; attempt 1 of process_payment")

    def test_a_run_that_turns_back_is_explained(self) -> None:
        run = five(c="permanent")
        for _ in range(3):
            run_one(run)
        assert fresh(run).explain() == ("Turning back because c: c refused; undo of b is ready.")

    def test_a_run_between_attempts_is_explained(self) -> None:
        run = five(a="network")
        run_one(run)
        assert "ConnectionError: a did not answer" in fresh(run).explain()

    def test_a_run_whose_steps_all_wait_is_explained(self) -> None:
        assert make_run().explain() == "Going forward; no step is ready."

    def test_a_run_that_is_over_is_explained(self) -> None:
        done = drive(start_saga(Diamond, Script({"tell": "permanent"}), key="d"))
        assert done.explain().endswith("A best-effort step failed and needs follow-up.")
        undone = drive(five(b="permanent"))
        assert undone.explain() == "Compensated: b: b refused"

    def test_a_run_that_waits_for_a_human_is_explained(self) -> None:
        assert "create_shipment: the carrier does not answer" in make_dead_letter().explain()


class TestKeys:
    def test_every_attempt_is_given_one_key_and_the_compensation_another(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[str, int, str]] = []

        def act(self: Five, name: str) -> Receipt:
            seen.append((name, self.attempt, self.idempotency_key))
            if name == "b" or self.attempt == 1:
                raise ConnectionError
            return Receipt(name)

        monkeypatch.setattr(Five, "act", act)
        monkeypatch.setattr(Five, "undo", lambda self, name, _: self.act(name))
        run = start_saga(Five, Script(), key="k")
        drive(run)
        assert [entry for entry in seen if entry[0] == "b"] == [
            ("b", attempt, f"{run.pk}:b") for attempt in (1, 2, 3)
        ]
        assert [entry for entry in seen if entry[0] == "undo_b"] == [
            ("undo_b", attempt, f"{run.pk}:b:undo") for attempt in (1, 2)
        ]

    def test_events_are_added_and_never_changed(self) -> None:
        run = five(b="permanent")
        before: list[int] = []
        for _ in range(3):
            run_one(run)
            ids = list(SagaEvent.objects.order_by("pk").values_list("pk", flat=True))
            assert ids[: len(before)] == before
            before = ids
