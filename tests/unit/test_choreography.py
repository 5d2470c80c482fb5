"""Reactions as they are declared, and the rules of names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sagas import Event, on_event
from sagas.choreography import PublishedEvent, collecting, reaction_problems, subscribers
from sagas.choreography.collecting import MAX_EVENTS
from sagas.definitions import registry
from sagas.exceptions import SagaDefinitionError, TraceTooLong


pytestmark = pytest.mark.usefixtures("isolated_registry")


def declare(event: str = "Rang", **options: Any) -> Any:
    @on_event(event, **options)
    def answer(event: Event[int]) -> int:
        return event.data

    return answer


def ids(event: str) -> set[str]:
    declared = subscribers(event)
    assert declared is not None
    return {p.id for p in (*declared.definition.problems(), *reaction_problems(declared))}


class TestDeclaring:
    def test_a_reaction_is_a_step_of_what_reacts_to_its_event(self) -> None:
        reaction = declare(queue="phones", max_retries=7)
        reaction.no_compensation("only answers")
        saga = registry.get("events.Rang")
        assert saga is subscribers("Rang")
        (step,) = saga.definition.steps
        assert (step.name, step.after) == ("tests.answer", ())
        assert (step.options.queue, step.options.max_retries) == ("phones", 7)
        assert saga.definition.problems() == []

    def test_one_that_does_not_say_how_it_is_undone_is_a_problem(self) -> None:
        declare()
        assert ids("Rang") == {"sagas.E010"}

    def test_what_it_takes_is_said_by_its_annotation(self) -> None:
        @on_event("Rang")
        def plain(event: Event) -> int:  # type: ignore[type-arg]
            return 1

        @on_event("Rang")
        def bare(event) -> int:  # type: ignore[no-untyped-def]  # noqa: ANN001
            return 1

        for reaction in (plain, bare):
            reaction.no_compensation("nothing")
        assert ids("Rang") == {"sagas.E006"}

    def test_they_react_in_the_order_of_module_and_name(self) -> None:
        def second(event: Event[int]) -> None: ...

        def first(event: Event[int]) -> None: ...

        second.__module__, first.__module__ = "b.sagas", "a.sagas"
        on_event("Rang")(second)
        on_event("Rang")(first)
        declared = subscribers("Rang")
        assert declared is not None
        assert [s.name for s in declared.definition.steps] == ["a.first", "b.second"]

    def test_two_of_one_name_in_an_app_are_refused(self) -> None:
        def answer(event: Event[int]) -> None: ...

        answer.__module__ = "tests.elsewhere"
        declare()
        with pytest.raises(
            SagaDefinitionError, match=r"are called tests.answer, in .* and .*rename"
        ):
            on_event("Rang")(answer)

    def test_a_module_that_is_imported_again_replaces_its_reactions(self) -> None:
        declare(queue="old")
        declare(queue="new").no_compensation("nothing")
        declared = subscribers("Rang")
        assert declared is not None
        assert [step.options.queue for step in declared.definition.steps] == ["new"]

    def test_what_a_test_declares_is_forgotten_with_it(self) -> None:
        declare()
        with registry.isolated():
            declare("Rang", queue="inner")
            declare("Knocked")
        assert subscribers("Knocked") is None
        declared = subscribers("Rang")
        assert declared is not None
        assert [step.options.queue for step in declared.definition.steps] == [None]


class TestRefusals:
    @pytest.mark.parametrize("event", ["", "a b", "a.b", "é", "x" * 61, None, 7])
    def test_a_name_that_is_none(self, event: Any) -> None:
        with pytest.raises(SagaDefinitionError, match="an event's name is"):
            declare(event)

    @pytest.mark.parametrize(
        "options", [{"after": []}, {"formerly": "x"}, {"wait": False}, {"queue": 7}, {"pivot": 1}]
    )
    def test_an_option_that_is_none(self, options: dict[str, Any]) -> None:
        with pytest.raises(SagaDefinitionError, match="answer"):
            declare(**options)

    @pytest.mark.parametrize("handler", [7, lambda: 1, lambda event, more: 1])
    def test_what_is_no_function_of_an_event(self, handler: Callable[..., Any]) -> None:
        with pytest.raises(SagaDefinitionError, match="handler"):
            on_event("Rang")(handler)

    def test_a_function_with_a_long_name(self) -> None:
        def answer(event: Event[int]) -> None: ...

        answer.__name__ = "x" * 60
        with pytest.raises(SagaDefinitionError, match="longer than 60"):
            on_event("Rang")(answer)


class TestPublishedEvents:
    def test_a_short_key_is_part_of_a_row_s_name_and_another_one_by_its_digest(self) -> None:
        named = PublishedEvent.checked("Rang", 1, key="line-1").key_in_row
        long = PublishedEvent.checked("Rang", 1, key="é" * 200).key_in_row
        assert (named, len(long)) == ("[line-1]", 18)

    def test_an_attempt_publishes_no_end_of_events(self) -> None:
        event = PublishedEvent.checked("Rang", 1)
        with collecting(None) as collected:
            for _ in range(MAX_EVENTS):
                collected.add(event)
            with pytest.raises(TraceTooLong):
                collected.add(event)


def test_the_guide_says_which_to_choose() -> None:
    guide = Path(__file__).parents[2] / "docs" / "choreography.md"
    assert "## Which to choose" in guide.read_text()
