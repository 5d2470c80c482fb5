"""Going on in place: one message carries a worker through what needs no other (architecture rule 10)."""

from types import new_class
from typing import Any

import pytest
from django.test import override_settings

from sagas import Saga, start_saga, step
from sagas.definitions import Step, registry
from sagas.engine.execute import execute
from sagas.models import SagaRun
from sagas.operations import cancel_saga, pause_saga
from sagas.states import EventType, SagaState, StepState
from tests import traced
from tests.chains import Fails, chain
from tests.driving import fresh, ready_steps, states, step_of
from tests.traced import CALLS, Diamond, Five, Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]


def go(run: SagaRun) -> str:
    """Run the first ready step as its message would, and what follows in place."""
    row = ready_steps(run)[0]
    return execute(row.pk, row.fence, task_id="t", worker="w", in_place=True)


def of_options(first: dict[str, Any], second: dict[str, Any]) -> type[Saga[Fails]]:
    """A saga of two steps with these options."""

    def one(self: Saga[Fails]) -> None: ...
    def two(self: Saga[Fails]) -> None: ...

    made: dict[str, Step[Any, None]] = {"one": step(**first)(one), "two": step(**second)(two)}
    for each in made.values():
        each.no_compensation("nothing to undo")
    return new_class("Two", (Saga[Fails],), exec_body=lambda space: space.update(made))


class TestOneMessage:
    def test_carries_a_saga_from_its_first_step_to_its_end(self, messages: list[str]) -> None:
        run = start_saga(Five, Script(), key="k")
        assert go(run) == "succeeded"
        assert CALLS == ["a", "b", "c", "d", "e"]
        assert fresh(run).state == SagaState.COMPLETED
        assert len(messages) == 1

    def test_claims_each_of_its_steps_with_lease_fence_attempt_and_name(self) -> None:
        run = start_saga(Five, Script({"c": "network"}), key="k")
        assert go(run) == "ConnectionError"
        row = step_of(run, "b")
        assert (row.fence, row.attempt, row.worker, row.task_id) == (1, 1, "w", "t")
        assert row.started_at is not None
        claims = run.events.filter(type=EventType.STEP_CLAIMED, from_state=StepState.PENDING)
        assert list(claims.values_list("step__name", "to_state", "note")) == [
            ("b", "running", "w"),
            ("c", "running", "w"),
        ]

    def test_a_step_that_fails_is_tried_again_by_a_message_of_its_own(self) -> None:
        run = start_saga(Five, Script({"c": "network"}), key="k")
        go(run)
        assert states(run) == {
            "a": "succeeded",
            "b": "succeeded",
            "c": "ready",
            "d": "pending",
            "e": "pending",
        }

    def test_carries_an_undo_chain_to_its_end(self, messages: list[str]) -> None:
        run = start_saga(Five, Script({"d": "permanent"}), key="k")
        assert go(run) == "REFUSED"
        assert len(messages) == 2
        assert go(run) == "succeeded"
        assert fresh(run).state == SagaState.COMPENSATED
        assert CALLS[-3:] == ["undo_c(c)", "undo_b(b)", "undo_a(a)"]
        assert len(messages) == 2

    def test_parallel_branches_get_messages_and_the_join_goes_on_in_place(
        self, messages: list[str]
    ) -> None:
        run = start_saga(Diamond, Script(), key="k")
        before = len(messages)
        go(run)
        assert len(messages) == before + 2
        go(run)
        go(run)
        assert len(messages) == before + 2
        assert fresh(run).state == SagaState.COMPLETED


class TestBounds:
    def test_after_the_steps_of_the_setting_a_new_message_carries_on(
        self, messages: list[str]
    ) -> None:
        with chain(7) as saga, override_settings(SAGAS={"IN_PLACE_STEPS": 3}):
            run = start_saga(saga, Fails(), key="k")
            go(run)
            assert list(states(run).values()).count("succeeded") == 3
            go(run)
            go(run)
        assert fresh(run).state == SagaState.COMPLETED
        assert len(messages) == 3

    def test_after_the_seconds_of_the_setting_a_new_message_carries_on(
        self, messages: list[str]
    ) -> None:
        with chain(3) as saga, override_settings(SAGAS={"IN_PLACE_SECONDS": 0.0}):
            run = start_saga(saga, Fails(), key="k")
            go(run)
            assert list(states(run).values()) == ["succeeded", "ready", "pending"]
        assert len(messages) == 2

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({}, {"queue": "other"}),
            ({}, {"rate_limit": "5/s"}),
            ({}, {"priority": 9}),
            ({}, {"soft_time_limit": 3}),
            ({"soft_time_limit": 3}, {}),
            ({"time_limit": 10}, {"time_limit": 20}),
        ],
        ids=["queue", "rate", "priority", "soft limit", "soft limit before", "longer time limit"],
    )
    def test_a_step_whose_option_celery_keeps_by_messages_gets_one(
        self, first: dict[str, Any], second: dict[str, Any], messages: list[str]
    ) -> None:
        with registry.isolated():
            run = start_saga(of_options(first, second), Fails(), key="k")
            go(run)
            assert states(run) == {"one": "succeeded", "two": "ready"}
        assert len(messages) == 2

    def test_a_step_of_the_same_options_needs_no_message(self, messages: list[str]) -> None:
        options = {"queue": "other", "time_limit": 10}
        with registry.isolated():
            run = start_saga(of_options(options, options), Fails(), key="k")
            go(run)
        assert fresh(run).state == SagaState.COMPLETED
        assert len(messages) == 1

    def test_off_in_meta_every_step_gets_a_message(self, messages: list[str]) -> None:
        class Meta:
            label = "tests.Apart"
            in_place = False

        with registry.isolated():
            saga = new_class("Apart", (Five,), exec_body=lambda space: space.update(Meta=Meta))
            run = start_saga(saga, Script({"c": "permanent"}), key="k")
            for _ in range(5):
                go(run)
        assert fresh(run).state == SagaState.COMPENSATED
        assert len(messages) == 5


class TestInterference:
    """What happens to the run while its worker goes on."""

    def during(self, name: str, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        inner = traced.Traced.act

        def acting(saga: traced.Traced, handler: str) -> traced.Receipt:
            if handler == name:
                act()
            return inner(saga, handler)

        monkeypatch.setattr(traced.Traced, "act", acting)

    def test_a_pause_stops_going_on_in_place_before_the_next_step(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        self.during("b", lambda: pause_saga(run, actor="ops", reason="look"), monkeypatch)
        assert go(run) == "succeeded"
        assert CALLS == ["a", "b"]
        assert step_of(run, "c").state == StepState.READY

    def test_a_cancel_stops_going_on_in_place_and_what_ran_is_undone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = start_saga(Five, Script(), key="k")
        self.during("b", lambda: cancel_saga(run, actor="ops", reason="no"), monkeypatch)
        assert go(run) == "succeeded"
        assert CALLS == ["a", "b"]
        assert go(run) == "succeeded"
        assert fresh(run).state == SagaState.CANCELLED
        assert CALLS == ["a", "b", "undo_b(b)", "undo_a(a)"]
