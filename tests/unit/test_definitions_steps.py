"""``@step`` and what hangs on it: what is accepted, and what is refused with saga, step and cure."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from sagas import Saga, SagaError, step
from sagas.exceptions import SagaDefinitionError, UnknownHandler


pytestmark = pytest.mark.usefixtures("isolated_registry")

# Lets a test write what a type checker would refuse.
unchecked_step: Any = step


def charge(self: Any) -> int:
    """Stand for a handler."""
    return 1


def refund(self: Any, result: int | None) -> None:
    """Stand for a compensation."""


class TestHandler:
    @pytest.mark.parametrize(
        ("handler", "complaint"),
        [
            (lambda: 1, r"takes exactly \(self\)"),
            (lambda self, one, two: 1, r"takes exactly \(self\), or \(self, value\)"),
            (lambda self, *, other: 1, r"takes exactly \(self\)"),
            (lambda self, *rest: 1, r"takes exactly \(self\)"),
            (lambda *everything: 1, r"takes exactly \(self\)"),
            (staticmethod(charge), "a plain method, not a staticmethod"),
            (functools.partial(charge), "a plain method, not a partial"),
            ("charge", "a plain method, not a str"),
        ],
    )
    def test_a_handler_takes_self_and_one_value_at_most(self, handler: Any, complaint: str) -> None:
        with pytest.raises(SagaDefinitionError, match=complaint):
            unchecked_step()(handler)

    def test_a_handler_is_not_async(self) -> None:
        async def charge(self: Any) -> int:
            return 1

        with pytest.raises(SagaDefinitionError, match=r"charge: .*async_to_sync"):
            unchecked_step(charge)

    def test_a_handler_does_not_yield(self) -> None:
        def charge(self: Any) -> Any:
            yield 1

        with pytest.raises(SagaDefinitionError, match="its body would never run"):
            unchecked_step(charge)

    def test_a_decorated_handler_is_judged_by_what_it_wraps(self) -> None:
        @functools.wraps(charge)
        def logged(*args: Any) -> int:
            return charge(*args)

        declared: Any = step(logged)
        assert declared.handler is logged

    def test_a_compensation_takes_the_result(self) -> None:
        declared: Any = step(charge)
        with pytest.raises(SagaDefinitionError, match=r"undo: .* exactly \(self, result\)"):

            @declared.compensation  # type: ignore[untyped-decorator]
            def undo(self: Any) -> None: ...

    def test_a_handler_comes_back_undecorated_for_a_unit_test_to_call(self) -> None:
        declared: Any = step(charge)
        assert declared.compensation(refund) is refund
        assert declared.condition(is_abroad) is is_abroad
        assert declared.reconcile(find) is find


def is_abroad(self: Any) -> bool:
    """Stand for a condition."""
    return True


def find(self: Any) -> int | None:
    """Stand for a reconcile."""
    return None


class TestCompanions:
    @pytest.mark.parametrize("kind", ["condition", "reconcile"])
    def test_a_step_has_one_companion_of_a_kind(self, kind: str) -> None:
        declared: Any = step(charge)
        getattr(declared, kind)(find)
        with pytest.raises(SagaDefinitionError, match=f"step 'charge' has a {kind} already"):
            getattr(declared, kind)(is_abroad)

    @pytest.mark.parametrize("kind", ["condition", "reconcile"])
    def test_companions_take_self_alone(self, kind: str) -> None:
        declared: Any = step(charge)
        with pytest.raises(SagaDefinitionError, match=r"refund: .* exactly \(self\)"):
            getattr(declared, kind)(refund)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            (lambda s: s.compensation(refund), lambda s: s.compensation(refund)),
            (lambda s: s.compensation(refund), lambda s: s.no_compensation("reads only")),
            (lambda s: s.no_compensation("reads only"), lambda s: s.compensation(refund)),
            (lambda s: s.no_compensation("reads only"), lambda s: s.no_compensation("really")),
        ],
    )
    def test_compensation_is_decided_once(
        self, first: Callable[[Any], None], second: Callable[[Any], None]
    ) -> None:
        declared = step(charge)
        first(declared)
        with pytest.raises(SagaDefinitionError, match="decided already; keep one"):
            second(declared)

    @pytest.mark.parametrize("reason", ["", "  ", None, 1])
    def test_having_none_needs_a_reason(self, reason: Any) -> None:
        with pytest.raises(SagaDefinitionError, match=r"charge: .* needs a reason in words"):
            step(charge).no_compensation(reason)

    @pytest.mark.parametrize("kind", ["compensation", "condition", "reconcile"])
    def test_no_companion_may_replace_its_step_by_having_its_name(self, kind: str) -> None:
        declared: Any = step(charge)
        with pytest.raises(SagaDefinitionError, match="would replace the step of the same name"):
            getattr(declared, kind)(charge)

    @pytest.mark.parametrize("kind", ["compensation", "condition", "reconcile", "no_compensation"])
    def test_companions_are_declared_in_the_body_of_their_saga(self, kind: str) -> None:
        class Pay(Saga[int]):
            @step
            def charge(self) -> int:
                return 1

        declared: Any = Pay.charge
        with pytest.raises(SagaDefinitionError, match=f"Pay.charge: {kind} is declared too late"):
            getattr(declared, kind)(find)


class TestAfter:
    def test_without_after_a_step_comes_after_the_one_written_above(self) -> None:
        class Pay(Saga[int]):
            @step
            def first(self) -> None: ...

            @step
            def second(self) -> None: ...

            @step(after=[])
            def third(self) -> None: ...

            @step(after=[first, third, first])
            def fourth(self) -> None: ...

            @step
            def fifth(self) -> None: ...

        assert {one.name: one.after for one in Pay.definition.steps} == {
            "first": (),
            "second": ("first",),
            "third": (),
            "fourth": ("first", "third"),
            "fifth": ("fourth",),
        }
        assert Pay.definition.successors() == {
            "first": ("second", "fourth"),
            "second": (),
            "third": ("fourth",),
            "fourth": ("fifth",),
            "fifth": (),
        }

    @pytest.mark.parametrize(
        ("after", "complaint"),
        [
            (["reserve"], "after takes steps that are declared above, not 'reserve'"),
            ([charge], "after takes steps that are declared above, not <function charge"),
            ("reserve", "after must be a list of steps"),
            (step(charge), r"after must be a list of steps, as after=\[reserve\]"),
        ],
    )
    def test_after_takes_a_list_of_steps(self, after: object, complaint: str) -> None:
        with pytest.raises(SagaDefinitionError, match=f"charge: {complaint}"):
            unchecked_step(after=after)(charge)

    def test_a_step_of_another_saga_is_refused(self) -> None:
        class Reserve(Saga[int]):
            @step
            def reserve(self) -> None: ...

        with pytest.raises(
            SagaDefinitionError,
            match=r"Pay.charge: after names .*Reserve.reserve, which is not a step",
        ):

            class Pay(Saga[int]):
                @step(after=[Reserve.reserve])
                def charge(self) -> None: ...


class TestNames:
    @pytest.mark.parametrize(
        "name", ["input", "run", "attempt", "definition", "logger", "undoing", "plan", "_private"]
    )
    def test_a_step_cannot_have_the_name_of_an_attribute_of_self(self, name: str) -> None:
        with pytest.raises(SagaDefinitionError, match=f"Pay.{name}: .* Rename it"):
            _declare(name)

    @pytest.mark.parametrize("name", ["x" * 101, "größe"])
    def test_a_name_fits_its_column_and_its_task(self, name: str) -> None:
        with pytest.raises(SagaDefinitionError, match="ASCII of at most 100 characters"):
            _declare(name)

    def test_a_step_has_one_name(self) -> None:
        with pytest.raises(SagaDefinitionError, match="a step has one name"):

            class Pay(Saga[int]):
                charge = step(charge)
                again = charge

    def test_a_step_of_another_saga_keeps_the_name_it_has_there(self) -> None:
        class Pay(Saga[int]):
            charge = step(charge)

        class Same(Saga[int]):
            charge = Pay.charge

        assert [one.name for one in Same.definition.steps] == ["charge"]
        with pytest.raises(SagaDefinitionError, match="a step has one name"):

            class Renamed(Saga[int]):
                take_money = Pay.charge

    def test_the_attribute_names_the_step(self) -> None:
        class Pay(Saga[int]):
            take_money = step(charge)

        assert Pay.definition.step("take_money").handler is charge

    def test_an_unknown_step_name_is_refused_with_those_that_are(self) -> None:
        saga = _declare("charge")
        with pytest.raises(SagaError, match="has no step 'pay' in this code; it has: charge"):
            saga.definition.step("pay")


def _declare(name: str) -> type[Saga[Any]]:
    handler: Any = step(lambda self: 1)
    return type("Pay", (Saga,), {name: handler})


class TestFormerNames:
    def test_lead_to_the_step_of_today(self) -> None:
        class Pay(Saga[int]):
            @step(formerly=("charge", "bill"))
            def pay(self) -> int:
                return 1

        definition = Pay.definition
        assert {definition.step(name).name for name in ("pay", "charge", "bill")} == {"pay"}
        assert definition.current_name("bill") == "pay"
        assert definition.current_name("ship") == "ship"

    def test_are_not_told_of_as_steps(self) -> None:
        class Pay(Saga[int]):
            @step(formerly="charge")
            def pay(self) -> int:
                return 1

        with pytest.raises(UnknownHandler, match=r"it has: pay$"):
            Pay.definition.step("ship")

    @pytest.mark.parametrize("former", [("charge",), ("old", "old"), ("elsewhere",)])
    def test_each_leads_to_one_step(self, former: tuple[str, ...]) -> None:
        with pytest.raises(SagaDefinitionError, match=r"Pay.pay: formerly names '\w+', which"):

            class Pay(Saga[int]):
                @step(formerly="elsewhere")
                def charge(self) -> int:
                    return 1

                @step(formerly=former)
                def pay(self) -> int:
                    return 1

    @pytest.mark.parametrize("former", ["", "two words", "_private", 7, ("a", 7), "schön", None])
    def test_are_names_of_steps(self, former: Any) -> None:
        with pytest.raises(SagaDefinitionError, match="formerly must be the name of a step"):
            unchecked_step(formerly=former)(charge)

    def test_a_unit_test_may_give_a_result_by_either_name(self) -> None:
        class Pay(Saga[int]):
            @step(formerly="charge")
            def pay(self) -> int:
                return 1

            @step
            def ship(self) -> int:
                return self.pay.result

        assert Pay(1, results={"charge": 3}).ship() == 3
        assert Pay(1, results={"pay": 4}).ship() == 4


class TestMigrate:
    def test_is_a_classmethod(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"Pay.migrate is a classmethod"):

            class Pay(Saga[int]):
                def migrate(self, version: int, data: Any) -> Any:  # type: ignore[override]
                    return data

    def test_takes_the_version_and_the_data(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"takes exactly \(cls, version, data\)"):

            class Pay(Saga[int]):
                @classmethod
                def migrate(cls, data: Any) -> Any:  # type: ignore[override]
                    return data
