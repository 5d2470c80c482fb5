"""What is wrong with a saga only when it is seen whole, with id, place and cure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar, cast

import pytest
from pydantic import Field, SecretStr

import sagas
from sagas import Saga, Wait, step
from sagas.definitions import Step
from sagas.definitions.declaration_errors import raises
from sagas.exceptions import SagaDefinitionError


pytestmark = pytest.mark.usefixtures("isolated_registry")


T = TypeVar("T")


@dataclass(frozen=True)
class OrderInput:
    order_id: int


def found(saga: type[Saga[Any]]) -> dict[str, str]:
    """Return id and message of each problem."""
    return {
        problem.id: f"{problem.message} {problem.hint}" for problem in saga.definition.problems()
    }


class TestCompensationIsDecided:
    def test_a_step_that_says_nothing_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step
            def charge(self) -> None: ...

        assert "tests.Pay: charge says nothing about how it is undone" in found(Pay)["sagas.E010"]
        assert "@charge.compensation" in found(Pay)["sagas.E010"]
        assert all(problem.is_error for problem in Pay.definition.problems())

    def test_a_pivot_and_what_comes_after_need_no_word(self) -> None:
        class Pay(Saga[OrderInput]):
            @step
            def reserve(self) -> None: ...

            reserve.no_compensation("a test")

            @step(pivot=True)
            def charge(self) -> None: ...

            @step
            def ship(self) -> None: ...

            @step
            def tell(self) -> None: ...

        assert found(Pay) == {}

    def test_beside_a_pivot_a_word_is_needed(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @step(after=[])
            def reserve(self) -> None: ...

        assert "reserve says nothing" in found(Pay)["sagas.E010"]

    def test_a_non_critical_step_needs_one_as_well(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(critical=False)
            def tell(self) -> None: ...

        assert set(found(Pay)) == {"sagas.E010"}


class TestPivots:
    def test_two_pivots_on_one_path_are_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @step
            def book(self) -> None: ...

            @step(pivot=True)
            def ship(self) -> None: ...

        assert "pivot ship comes after pivot charge" in found(Pay)["sagas.E004"]

    def test_two_pivots_on_parallel_paths_are_fine(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @step(after=[], pivot=True)
            def ship(self) -> None: ...

        assert found(Pay) == {}

    def test_a_compensation_that_never_runs_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @charge.compensation
            def refund(self, _: None) -> None: ...

        class Ship(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @step
            def ship(self) -> None: ...

            @ship.compensation
            def unship(self, _: None) -> None: ...

        assert "charge is the pivot, so its compensation never runs" in found(Pay)["sagas.E005"]
        assert "ship comes after pivot charge" in found(Ship)["sagas.E005"]


class TestGraph:
    def test_a_cycle_is_an_error_that_names_it(self) -> None:
        class Base(Saga[OrderInput]):
            class Meta:
                abstract = True

            @step
            def reserve(self) -> None: ...

            @step(after=[reserve])
            def charge(self) -> None: ...

        class Pay(Base):
            @step(after=[Base.charge])
            def reserve(self) -> None: ...

        assert "wait for each other: " in found(Pay)["sagas.E003"]
        assert {"reserve", "charge"} <= set(found(Pay)["sagas.E003"].replace(".", " ").split())

    def test_a_saga_without_steps_cannot_start(self) -> None:
        class Pay(Saga[OrderInput]):
            class Meta:
                label = "shop.Pay"

        assert "shop.Pay has no steps" in found(Pay)["sagas.E008"]


def unannotated(self: Any):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Say no type."""


def says_any(self: Any) -> Any:
    """Say a type that says nothing."""


def says_object(self: Any) -> object:
    """Say a type that says nothing."""


def unresolvable(self: Any) -> "Missing":  # type: ignore[name-defined]  # noqa: F821
    """Say a name that is nowhere."""


def secret(self: Any) -> SecretStr:
    """Say a type that is masked."""
    raise NotImplementedError


class Model:
    """Stand for a Django model."""


def model(self: Any) -> Model:
    """Say a type that pydantic does not know."""
    raise NotImplementedError


class TestAnnotations:
    @pytest.mark.parametrize(
        ("handler", "complaint"),
        [
            (unannotated, "has no annotation; say its type, None included"),
            (says_any, "which cannot be loaded again"),
            (says_object, "which cannot be loaded again"),
            (unresolvable, "cannot be resolved: name 'Missing' is not defined"),
            (secret, "asterisks"),
            (model, "is Model, which cannot be stored"),
        ],
    )
    def test_a_result_that_cannot_be_stored_is_an_error(self, handler: Any, complaint: str) -> None:
        class Pay(Saga[OrderInput]):
            charge: Step[Any, Any] = step(handler)
            charge.no_compensation("a test")

        assert complaint in found(Pay)["sagas.E006"]
        assert "tests.Pay: " in found(Pay)["sagas.E006"]
        assert "Pay.charge" in found(Pay)["sagas.E006"]

    def test_an_input_that_cannot_be_stored_is_an_error(self) -> None:
        class Pay(Saga[Any]):
            @step(pivot=True)
            def charge(self) -> None: ...

        class Untyped(Saga):  # type: ignore[type-arg]
            @step(pivot=True)
            def charge(self) -> None: ...

        class Unresolved(Saga["Missing"]):  # type: ignore[name-defined]
            class Meta:
                key = "{input.order_id}"

            @step(pivot=True)
            def charge(self) -> None: ...

        assert "The input of Pay" in found(Pay)["sagas.E006"]
        assert "The input of Untyped, Saga[...], has no annotation" in found(Untyped)["sagas.E006"]
        assert "name 'Missing' is not defined" in found(Unresolved)["sagas.E006"]

    def test_a_template_that_reads_what_is_not_there_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            class Meta:
                key = "order-{input.oder_id}"
                tags = {"order": "{input.order_id}"}

            @step(pivot=True)
            def charge(self) -> None: ...

        assert "Meta.key reads {input.oder_id}" in found(Pay)["sagas.E009"]


class TestCompensationArgument:
    @pytest.mark.parametrize(
        ("result", "parameter"),
        [
            (int, int | None),
            (int, None | int | str),
            (bool, int | None),
            (int, Any),
            (int, object),
            (None, None),
            (int | None, int | None),
            (list[int], Sequence[int] | None),
            (list[int], list[int] | None),
            (Annotated[int, Field(gt=0)], int | None),
            (Literal["a"], str | None),
        ],
    )
    def test_a_compensation_takes_the_result_or_none(self, result: Any, parameter: Any) -> None:
        assert "sagas.E007" not in found(_undo(result, parameter))

    @pytest.mark.parametrize(
        ("result", "parameter", "wanted"),
        [
            (int, int, "int | None"),
            (int, str | None, "int | None"),
            (int, None, "int | None"),
            (None, int, "None"),
            (int | str, int | None, "int | str | None"),
            (list[int], list[int], r"list[int] | None"),
        ],
    )
    def test_a_compensation_that_takes_anything_else_is_an_error(
        self, result: Any, parameter: Any, wanted: str
    ) -> None:
        message = found(_undo(result, parameter))["sagas.E007"]
        assert "tests.Pay: refund takes" in message
        assert f"undoing take gives it {wanted}" in message

    def test_a_compensation_whose_step_has_a_bad_annotation_is_not_judged(self) -> None:
        class Pay(Saga[OrderInput]):
            take: Step[Any, Any] = step(unresolvable)

            @take.compensation
            def refund(self, result: int | None) -> None: ...

        assert set(found(Pay)) == {"sagas.E006"}

    def test_a_generic_compensation_is_not_judged(self) -> None:
        assert "sagas.E007" not in found(_undo(int, T))

    def test_a_compensation_without_annotation_is_not_judged(self) -> None:
        class Pay(Saga[OrderInput]):
            @step
            def charge(self) -> int:
                return 1

            @charge.compensation
            def refund(self, result): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

        assert found(Pay) == {}


def _undo(result: Any, parameter: Any) -> type[Saga[Any]]:
    def charge(self: Any) -> Any: ...

    def refund(self: Any, result: Any) -> None: ...

    charge.__annotations__["return"] = result
    refund.__annotations__["result"] = parameter

    class Pay(Saga[OrderInput]):
        take: Step[Any, Any] = step(charge)
        take.compensation(refund)

    return Pay


class TestTime:
    def test_a_step_that_may_outlast_its_saga_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            class Meta:
                timeout = timedelta(minutes=2)

            @step(time_limit=180, pivot=True)
            def charge(self) -> None: ...

            @step(timeout=600)
            def ship(self) -> None: ...

        problems = [p.message for p in Pay.definition.problems() if p.id == "sagas.E013"]
        assert any("the time_limit of charge (180 s)" in message for message in problems)
        assert any("the timeout of ship (600 s)" in message for message in problems)

    def test_the_default_limit_in_a_short_saga_is_no_ones_wish(self) -> None:
        class Pay(Saga[OrderInput]):
            class Meta:
                timeout = timedelta(seconds=30)

            @step(pivot=True)
            def charge(self) -> None: ...

        assert found(Pay) == {}


class TestCompensableUntil:
    def test_a_limit_that_names_an_earlier_step_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step
            def reserve(self) -> None: ...

            reserve.no_compensation("a test")

            @step(compensable_until="reserve")
            def charge(self) -> None: ...

            @charge.compensation
            def refund(self, _: None) -> None: ...

            @step
            def confirm(self) -> None: ...

            confirm.no_compensation("a test")

        problem = found(Pay)["sagas.E016"]
        assert "charge is compensable until reserve, which does not come after it" in problem
        assert "Name a step that waits for it: confirm." in problem

    def test_a_limit_that_names_no_step_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(compensable_until="confirmed")
            def charge(self) -> None: ...

            @charge.compensation
            def refund(self, _: None) -> None: ...

        assert "there is none" in found(Pay)["sagas.E016"]

    def test_a_step_without_compensation_can_have_no_limit(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(compensable_until="confirm")
            def charge(self) -> None: ...

            charge.no_compensation("a test")

            @step(pivot=True)
            def confirm(self) -> None: ...

        assert "charge is compensable until confirm, and has none" in found(Pay)["sagas.E016"]

    def test_a_limit_further_down_is_fine(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(compensable_until="confirm")
            def charge(self) -> None: ...

            @charge.compensation
            def refund(self, _: None) -> None: ...

            @step
            def confirm(self) -> None: ...

            confirm.no_compensation("a test")

        assert found(Pay) == {}


class TestReconcile:
    def test_a_step_that_may_return_none_cannot_be_asked_about(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def charge(self) -> None: ...

            @charge.reconcile
            def find(self) -> None: ...

        assert "charge may return None" in found(Pay)["sagas.E012"]


class TestWaitInATransaction:
    def test_an_atomic_step_or_compensation_that_raises_wait_is_an_error(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(atomic=True)
            def book(self) -> int:
                if self.input.order_id:
                    raise Wait("others book", timeout=5)
                return 1

            @book.compensation(atomic=True)
            def unbook(self, result: int | None) -> None:
                raise sagas.Wait

        first, second = (p for p in Pay.definition.problems() if p.id == "sagas.E015")
        assert "book is atomic and raises Wait" in first.message
        assert "unbook is atomic and raises Wait" in second.message
        assert "atomic=True" in first.hint

    def test_so_is_one_that_is_to_be_approved(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(atomic=True, pivot=True)
            def book(self) -> None:
                raise sagas.Approval("much")

        assert [p.id for p in Pay.definition.problems()] == ["sagas.E015"]

    def test_a_step_without_a_transaction_may_wait(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(pivot=True)
            def ask(self) -> int:
                raise Wait

        assert found(Pay) == {}

    def test_a_mention_of_wait_is_no_raise(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(atomic=True, pivot=True)
            def book(self) -> int:
                """Nothing here may raise Wait."""
                try:
                    return int(isinstance(self.input, Wait))
                except Wait as error:
                    raise RuntimeError("raise Wait") from error

            @step(atomic=True)
            def tell(self) -> int:
                class Wait(Exception):
                    """Another one."""

                raise Wait

        assert found(Pay) == {}

    def test_a_handler_without_a_source_is_believed(self) -> None:
        scope = {"Wait": Wait}
        exec("def book(self) -> int:\n    raise Wait\n", scope)  # noqa: S102
        assert not raises(cast("Callable[..., object]", scope["book"]), Wait)


class TestFireAndForget:
    def test_a_saga_that_waits_for_none_of_its_steps_is_an_error(self) -> None:
        class Tell(Saga[OrderInput]):
            @step(critical=False, wait=False)
            def mail(self) -> None: ...

            mail.no_compensation("a test")

        assert "waits for none of its steps" in found(Tell)["sagas.E008"]

    def test_no_step_is_compensable_until_one_for_which_nobody_waits(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(compensable_until="tell")
            def charge(self) -> None: ...

            @charge.compensation
            def refund(self, _: None) -> None: ...

            @step(critical=False, wait=False)
            def tell(self) -> None: ...

            tell.no_compensation("a test")

        problem = found(Pay)["sagas.E016"]
        assert "charge is compensable until tell, for which nobody waits" in problem
        assert "Remove wait=False from tell" in problem

    def test_what_is_written_below_it_follows_what_it_follows(self) -> None:
        class Pay(Saga[OrderInput]):
            @step(critical=False, wait=False)
            def hello(self) -> None: ...

            @step
            def charge(self) -> None: ...

            @step(critical=False, wait=False)
            def tell(self) -> None: ...

            @step(critical=False, wait=False)
            def count(self) -> None: ...

            @step
            def ship(self) -> None: ...

        after = {each.name: each.after for each in Pay.definition.steps}
        assert after == {
            "hello": (),
            "charge": (),
            "tell": ("charge",),
            "count": ("charge",),
            "ship": ("charge",),
        }
        assert Pay.definition.plan.remaining == 1

    def test_nothing_can_come_after_it(self) -> None:
        with pytest.raises(SagaDefinitionError, match="after names tell, for which nobody waits"):

            class Pay(Saga[OrderInput]):
                @step(critical=False, wait=False)
                def tell(self) -> None: ...

                @step(after=[tell])
                def ship(self) -> None: ...

    @pytest.mark.parametrize("options", [{}, {"pivot": True}, {"critical": True}], ids=str)
    def test_a_saga_cannot_fail_with_it(self, options: Any) -> None:
        with pytest.raises(SagaDefinitionError, match=r"Pay\.tell: .* add critical=False"):

            class Pay(Saga[OrderInput]):
                @step(wait=False, **options)
                def tell(self) -> None: ...
