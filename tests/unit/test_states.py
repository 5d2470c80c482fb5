"""The states and the arrows between them (R14, R15)."""

import ast
from collections.abc import Mapping
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sagas.admin.badges import state_badge
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.states import (
    ACTIVE_SAGAS,
    ENDED_STEPS,
    FINAL_SAGAS,
    IN_FLIGHT_STEPS,
    MAY_HAVE_HAPPENED,
    SAGA_ARROWS,
    STEP_ARROWS,
    UNSTARTED_STEPS,
    EventType,
    SagaState,
    StepState,
    groups,
    lifecycle,
)


def reachable(arrows: Mapping[Any, frozenset[Any]], start: Enum) -> set[Enum]:
    found, waiting = {start}, [start]
    while waiting:
        new = arrows[waiting.pop()] - found
        found |= new
        waiting += new
    return found


class TestSagaStates:
    def test_every_state_has_its_arrows(self) -> None:
        assert set(SAGA_ARROWS) == set(SagaState)

    def test_every_state_is_reached_from_running(self) -> None:
        assert reachable(SAGA_ARROWS, SagaState.RUNNING) == set(SagaState)

    def test_a_saga_is_active_or_final_or_a_dead_letter(self) -> None:
        assert {*ACTIVE_SAGAS, *FINAL_SAGAS, SagaState.DEAD_LETTER} == set(SagaState)
        assert not ACTIVE_SAGAS & FINAL_SAGAS

    def test_a_final_state_leads_nowhere_but_to_undoing(self) -> None:
        leads_to = frozenset().union(*(SAGA_ARROWS[state] for state in FINAL_SAGAS))
        assert leads_to == {SagaState.COMPENSATING}
        assert SAGA_ARROWS[SagaState.RESOLVED] == frozenset()

    def test_compensated_is_reached_by_compensating_only(self) -> None:
        for promise in (SagaState.COMPENSATED, SagaState.CANCELLED):
            sources = {state for state, targets in SAGA_ARROWS.items() if promise in targets}
            assert sources == {SagaState.COMPENSATING}


class TestStepStates:
    def test_every_state_has_its_arrows(self) -> None:
        assert set(STEP_ARROWS) == set(StepState)

    def test_every_state_is_reached_from_pending(self) -> None:
        assert reachable(STEP_ARROWS, StepState.PENDING) == set(StepState)

    def test_only_what_may_have_happened_is_undone(self) -> None:
        sources = {s for s, targets in STEP_ARROWS.items() if StepState.COMPENSATED in targets}
        assert sources == MAY_HAVE_HAPPENED

    def test_a_skipped_step_is_undone_only_after_a_late_word(self) -> None:
        assert STEP_ARROWS[StepState.SKIPPED] == MAY_HAVE_HAPPENED

    def test_a_handler_starts_when_nothing_is_before_it(self) -> None:
        sources = {s for s, targets in STEP_ARROWS.items() if StepState.RUNNING in targets}
        assert sources == UNSTARTED_STEPS

    def test_a_step_is_unstarted_or_in_flight_or_has_ended(self) -> None:
        groups = (UNSTARTED_STEPS, IN_FLIGHT_STEPS, ENDED_STEPS)
        assert sorted(state for group in groups for state in group) == sorted(StepState)
        assert MAY_HAVE_HAPPENED < ENDED_STEPS


class TestColumns:
    @pytest.mark.parametrize(
        ("model", "column", "values"),
        [
            (SagaRun, "state", SagaState.values),
            (StepRun, "state", StepState.values),
            (SagaEvent, "type", EventType.values),
            (SagaEvent, "to_state", [*SagaState.values, *StepState.values]),
            (SagaEvent, "from_state", [*SagaState.values, *StepState.values]),
        ],
    )
    def test_every_value_fits_its_column(self, model: type, column: str, values: list[str]) -> None:
        longest = model._meta.get_field(column).max_length  # type: ignore[attr-defined]
        assert max(map(len, values)) <= longest

    def test_a_new_type_of_event_is_no_change_of_the_schema(self) -> None:
        assert SagaEvent._meta.get_field("type").choices is None

    def test_an_event_of_another_version_is_shown_by_its_word(self) -> None:
        types = [EventType.STEP_LATE, "step_teleported"]
        assert [SagaEvent(type=t).type_label for t in types] == ["Late outcome", "step_teleported"]


class TestBadges:
    @pytest.mark.parametrize("state", [*SagaState, *StepState])
    def test_every_state_has_a_badge(self, state: SagaState | StepState) -> None:
        assert str(state.label) in state_badge(state)


class TestSentences:
    @pytest.mark.parametrize("name", ["SagaState", "StepState"])
    def test_every_state_is_explained_by_a_sentence(self, name: str) -> None:
        tree = ast.parse(Path(lifecycle.__file__).read_text())
        (body,) = (n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
        members = [n for n, node in enumerate(body) if isinstance(node, ast.Assign)]
        assert len(members) == len(getattr(lifecycle, name))
        for n in members:
            sentence = body[n + 1]
            assert isinstance(sentence, ast.Expr)
            assert isinstance(sentence.value, ast.Constant)
            assert str(sentence.value.value).endswith(".")

    def test_every_group_is_explained_by_a_sentence(self) -> None:
        body = ast.parse(Path(groups.__file__).read_text()).body
        for node, sentence in pairwise(body):
            if isinstance(node, ast.Assign):
                assert isinstance(sentence, ast.Expr), ast.unparse(node)
                assert isinstance(sentence.value, ast.Constant)
                assert str(sentence.value.value).endswith(".")
