"""The judge of the soak catches each kind of lie; otherwise a green soak would mean nothing."""

import io
from dataclasses import replace
from itertools import count

from benchmarks.faults.judge import (
    COMPENSATED,
    COMPLETED,
    DISORDER,
    DOUBLED,
    FALSELY_COMPENSATED,
    FALSELY_COMPLETED,
    LOST,
    effects_left,
    judge,
    judge_all,
    repeats,
)
from benchmarks.faults.ledger.books import Entry
from benchmarks.faults.ledger.service import Books
from benchmarks.faults.wishes import ANSWER_LOST, FAILURES, STEPS, Wish, wish


HARMLESS = Wish("s")
FAILING = Wish("s", "pack", ANSWER_LOST)


def told(*calls: str) -> list[Entry]:
    """What the service writes when it is asked this: ``do reserve``, ``undo charge``."""
    books, numbers, entries = Books(io.StringIO()), count(1), []
    for call in calls:
        op, _, step = call.partition(" ")
        answer = books.handle({"op": op, "saga": "s", "step": step, "key": step})
        entry = {"op": op, "saga": "s", "step": step, "key": step, **answer}
        entries.append(Entry(number=next(numbers), moment=0.0, pid=1, **entry))
    return entries


ALL = tuple(f"do {step}" for step in STEPS)


def kinds(wish: Wish, state: str, entries: list[Entry]) -> set[str]:
    return {finding.kind for finding in judge(wish, state, entries)}


class TestCompleted:
    def test_each_effect_once_and_none_undone_is_the_truth(self) -> None:
        assert kinds(HARMLESS, COMPLETED, told(*ALL)) == set()

    def test_a_repeated_call_with_the_same_key_has_no_effect_and_is_counted(self) -> None:
        entries = told("do reserve", *ALL)
        assert kinds(HARMLESS, COMPLETED, entries) == set()
        assert repeats(entries) == 1

    def test_a_missing_effect_is_found(self) -> None:
        assert kinds(HARMLESS, COMPLETED, told(*ALL[:4])) == {FALSELY_COMPLETED}

    def test_an_undone_effect_is_found(self) -> None:
        assert kinds(HARMLESS, COMPLETED, told(*ALL, "undo notify")) == {FALSELY_COMPLETED}

    def test_effects_in_another_order_are_found(self) -> None:
        assert kinds(HARMLESS, COMPLETED, told(*reversed(ALL))) == {FALSELY_COMPLETED}

    def test_a_saga_that_cannot_complete_is_found(self) -> None:
        assert kinds(FAILING, COMPLETED, told(*ALL)) == {FALSELY_COMPLETED}

    def test_an_effect_under_two_keys_is_found(self) -> None:
        first, *others = told(*ALL)
        again = replace(first, key="another key")
        assert kinds(HARMLESS, COMPLETED, [first, again, *others]) == {DOUBLED}


class TestCompensated:
    def test_all_undone_in_reverse_order_is_the_truth(self) -> None:
        entries = told("do reserve", "do charge", "undo pack", "undo charge", "undo reserve")
        assert kinds(FAILING, COMPENSATED, entries) == set()

    def test_nothing_done_and_nothing_undone_is_the_truth(self) -> None:
        assert kinds(FAILING, COMPENSATED, []) == set()

    def test_an_effect_that_stayed_is_found(self) -> None:
        entries = told("do reserve", "do charge", "undo charge")
        assert effects_left(entries) == ["reserve"]
        assert kinds(FAILING, COMPENSATED, entries) == {FALSELY_COMPENSATED}

    def test_the_wrong_order_is_found(self) -> None:
        entries = told("do reserve", "do charge", "undo reserve", "undo charge")
        assert kinds(FAILING, COMPENSATED, entries) == {DISORDER}

    def test_a_do_that_comes_after_its_undo_has_no_effect(self) -> None:
        *_, late = entries = told("undo reserve", "do reserve")
        assert late.refused
        assert not late.applied
        assert kinds(FAILING, COMPENSATED, entries) == set()


def test_a_saga_without_a_final_state_is_lost() -> None:
    for state in ("", "running", "compensating", "dead_letter"):
        assert kinds(HARMLESS, state, told(*ALL)) == {LOST}


def test_the_verdict_counts_sagas_effects_and_rollbacks_without_cause() -> None:
    entries = told("do reserve", "undo reserve")
    verdict = judge_all(
        [replace(HARMLESS, saga="a"), replace(HARMLESS, saga="b"), replace(HARMLESS, saga="c")],
        {"a": COMPENSATED, "b": "dead_letter"},
        {"a": entries, "b": told("do reserve"), "c": told("do reserve", "do charge")},
    )
    assert (verdict.sagas, verdict.truthful, verdict.without_cause) == (3, 1, 1)
    assert (verdict.handed_over, verdict.stuck) == (1, 1)
    assert (verdict.effects, verdict.left) == (4, 3)


def test_a_fifth_of_the_wishes_fails_at_every_step_in_every_way() -> None:
    wishes = [wish(number, hold_ms=0) for number in range(1000)]
    failing = [wish for wish in wishes if wish.must_fail]
    assert len(failing) == 200
    assert {(wish.at, wish.how) for wish in failing} == {(s, h) for s in STEPS for h in FAILURES}
