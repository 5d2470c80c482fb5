"""Inheritance, the type of the input, labels and the registry."""

import types
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
from django.apps import apps
from typing_extensions import TypedDict

from sagas import Saga, step
from sagas.definitions import registry
from sagas.exceptions import SagaDefinitionError, UnknownSaga


pytestmark = pytest.mark.usefixtures("isolated_registry")

I = TypeVar("I")  # noqa: E741
J = TypeVar("J")


@dataclass(frozen=True)
class OrderInput:
    order_id: int


class OrderDict(TypedDict):
    order_id: int


def saga_with(**attributes: Any) -> type[Saga[Any]]:
    """Declare ``Pay`` with this Meta."""
    return declare("Pay", Meta=type("Meta", (), attributes))


def declare(name: str, **body: Any) -> type[Saga[Any]]:
    """Declare a saga of this name, with this in its class body."""
    return types.new_class(name, (Saga[OrderInput],), exec_body=lambda space: space.update(body))


class TestInheritance:
    def test_a_subclass_goes_on_where_its_base_ends(self) -> None:
        class Base(Saga[OrderInput]):
            @step
            def reserve(self) -> None: ...

            @step
            def charge(self) -> int:
                return 1

            charge.no_compensation("a test")

        class Sub(Base):
            @step
            def ship(self) -> None: ...

        assert [(one.name, one.after) for one in Sub.definition.steps] == [
            ("reserve", ()),
            ("charge", ("reserve",)),
            ("ship", ("charge",)),
        ]
        assert Sub.definition.step("charge").no_compensation_reason == "a test"
        assert [one.name for one in Base.definition.steps] == ["reserve", "charge"]

    def test_an_override_keeps_its_place_and_its_followers(self) -> None:
        class Base(Saga[OrderInput]):
            @step
            def reserve(self) -> int:
                return 1

            @step(after=[reserve])
            def charge(self) -> None: ...

        class Sub(Base):
            @step(queue="other")
            def reserve(self) -> int:
                return 2

        assert [(one.name, one.after) for one in Sub.definition.steps] == [
            ("reserve", ()),
            ("charge", ("reserve",)),
        ]
        assert Sub.definition.step("reserve").options.queue == "other"
        assert Sub(OrderInput(1)).reserve() == 2
        assert Base(OrderInput(1)).reserve() == 1

    def test_a_compensation_is_overridden_as_any_other_method(self) -> None:
        class Base(Saga[OrderInput]):
            @step
            def charge(self) -> int:
                return 1

            @charge.compensation(queue="slow")
            def refund(self, result: int | None) -> None: ...

        class Sub(Base):
            def refund(self, result: int | None) -> None: ...

        undo = Sub.definition.step("charge").compensation
        assert undo is not None
        assert undo.handler is vars(Sub)["refund"]
        assert undo.options.queue == "slow"

    def test_an_overriding_compensation_has_the_same_form(self) -> None:
        class Base(Saga[OrderInput]):
            @step
            def charge(self) -> int:
                return 1

            @charge.compensation
            def refund(self, result: int | None) -> None: ...

        with pytest.raises(SagaDefinitionError, match=r"Sub.refund: .* exactly \(self, result\)"):

            class Sub(Base):
                def refund(self) -> None: ...  # type: ignore[override]

    def test_a_step_is_not_replaced_by_a_plain_method(self) -> None:
        class Base(Saga[OrderInput]):
            @step
            def charge(self) -> None: ...

        with pytest.raises(SagaDefinitionError, match=r"Sub.charge replaces an inherited step"):
            type("Sub", (Base,), {"charge": lambda self: None})

    def test_bases_come_in_order_and_mixins_count(self) -> None:
        class Reserve:
            @step
            def reserve(self: Any) -> None: ...

        class Charge(Saga[OrderInput]):
            @step
            def charge(self) -> None: ...

        class Both(Reserve, Charge):
            @step
            def ship(self) -> None: ...

        assert [one.name for one in Both.definition.steps] == ["reserve", "charge", "ship"]
        assert Both.definition.input_codec.annotation is OrderInput


class TestInputType:
    def test_the_input_type_is_found_through_generic_bases(self) -> None:
        class Base(Saga[I], Generic[I]): ...

        class Pair(Base[J], Generic[I, J]): ...

        class Sub(Pair[int, OrderInput]): ...

        class SubSub(Sub): ...

        assert SubSub.definition.input_codec.annotation is OrderInput

    def test_the_input_type_may_be_a_typed_dict(self) -> None:
        class Pay(Saga[OrderDict]):
            class Meta:
                key = "order-{input.order_id}"

        assert Pay.definition.input_codec.load({"order_id": 7}) == {"order_id": 7}
        assert Pay.definition.key_for({"order_id": 7}) == "order-7"

    def test_a_name_in_quotes_is_looked_up_in_the_module(self) -> None:
        class Pay(Saga["OrderInput"]): ...

        assert Pay.definition.input_codec.annotation is OrderInput


class TestLabel:
    def test_a_label_is_the_app_and_the_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Pay(Saga[OrderInput]): ...

        monkeypatch.setattr(Pay, "__module__", "examples.shop.payments")
        assert Pay.definition.label == "shop.Pay"

    def test_a_label_outside_of_any_app_begins_with_the_first_package(self) -> None:
        class Pay(Saga[OrderInput]): ...

        assert Pay.definition.label == "tests.Pay"

    def test_a_label_is_not_final_before_the_apps_are_ready(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Pay(Saga[OrderInput]): ...

        registry.register(Pay)
        monkeypatch.setattr(Pay, "__module__", "examples.shop.payments")
        with monkeypatch.context() as early:
            early.setattr(apps, "apps_ready", False)
            assert registry.get("examples.Pay") is Pay
        assert registry.get("shop.Pay") is Pay

    def test_a_class_name_that_makes_no_label_is_refused(self) -> None:
        with pytest.raises(SagaDefinitionError, match=r"say another by Meta.label"):
            declare("Größe")


class TestRegistry:
    def test_a_declared_saga_is_found_by_its_label(self) -> None:
        saga = saga_with(label="shop.Pay")
        assert registry.get("shop.Pay") is saga
        assert saga in registry.all()

    def test_an_unknown_label_is_refused_with_close_ones(self) -> None:
        saga_with(label="shop.PayTheOrder")
        with pytest.raises(UnknownSaga, match=r"did you mean shop.PayTheOrder"):
            registry.get("shop.PayTheOrders")
        with pytest.raises(UnknownSaga, match="no label is close to it"):
            registry.get("%%%")

    def test_a_base_without_steps_or_label_is_not_registered(self) -> None:
        class Base(Saga[OrderInput]): ...

        assert Base not in registry.all()

    def test_an_abstract_base_with_steps_is_not_registered(self) -> None:
        class Base(Saga[I], Generic[I]):
            class Meta:
                abstract = True

            @step
            def charge(self) -> None: ...

        class Pay(Base[OrderInput]): ...

        assert Base not in registry.all()
        assert Pay in registry.all()

    def test_a_saga_that_is_imported_again_replaces_itself(self) -> None:
        _first, second = saga_with(label="shop.Pay"), saga_with(label="shop.Pay")
        assert registry.get("shop.Pay") is second
        assert registry.duplicates() == {}

    def test_two_classes_of_one_label_are_told(self) -> None:
        first = saga_with(label="shop.Pay")
        second = declare("Other", Meta=type("Meta", (), {"label": "shop.Pay"}))
        assert registry.duplicates() == {"shop.Pay": [first, second]}
        assert registry.get("shop.Pay") is first

    def test_a_saga_declared_in_isolation_is_forgotten(self) -> None:
        with registry.isolated():
            saga_with(label="shop.Pay")
        with pytest.raises(UnknownSaga):
            registry.get("shop.Pay")
