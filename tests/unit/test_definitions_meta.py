"""``class Meta``, and the keys and tags that it makes."""

import types
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from sagas import Saga
from sagas.definitions import RunPlan
from sagas.exceptions import IdempotencyRequired, SagaDefinitionError


pytestmark = pytest.mark.usefixtures("isolated_registry")


@dataclass(frozen=True)
class Customer:
    id: str | None


@dataclass(frozen=True)
class OrderInput:
    order_id: int | None
    customer: Customer | None = None
    lines: tuple[str, ...] = ()


def saga_with(**attributes: Any) -> type[Saga[Any]]:
    """Declare ``Pay`` with this Meta."""
    return declare("Pay", Meta=type("Meta", (), attributes))


def declare(name: str, **body: Any) -> type[Saga[Any]]:
    """Declare a saga of this name, with this in its class body."""
    return types.new_class(name, (Saga[OrderInput],), exec_body=lambda space: space.update(body))


class TestMeta:
    def test_an_option_that_is_not_said_has_its_default(self) -> None:
        class Pay(Saga[OrderInput]): ...

        definition = Pay.definition
        assert (definition.version, definition.timeout) == (1, timedelta(minutes=15))
        assert definition.run_plan == RunPlan(
            on_compensation_failure="stop", in_place=True, auto_retry=0
        )
        assert not definition.long_running
        assert definition.key_template is None

    def test_an_option_that_is_said_is_kept(self) -> None:
        definition = saga_with(
            label="shop.Pay",
            version=3,
            timeout=timedelta(minutes=1),
            on_compensation_failure="continue",
            in_place=False,
        ).definition
        assert (definition.label, definition.version) == ("shop.Pay", 3)
        assert definition.timeout == timedelta(minutes=1)
        assert definition.run_plan == RunPlan(on_compensation_failure="continue", in_place=False)

    @pytest.mark.parametrize(
        ("attributes", "complaint"),
        [
            ({"time_out": 1}, "unknown option 'time_out'. Did you mean 'timeout'?"),
            ({"label": "a b"}, "letters, digits"),
            ({"label": "x" * 101}, "at most 100"),
            ({"version": 0}, "a whole number, 1 or more"),
            ({"version": True}, "a whole number, 1 or more"),
            ({"timeout": 60}, "a timedelta greater than 0"),
            ({"timeout": timedelta(0)}, "a timedelta greater than 0"),
            ({"timeout": timedelta(minutes=16)}, "set long_running = True"),
            ({"long_running": True}, "says its own timeout"),
            ({"on_compensation_failure": "ignore"}, '"stop" or "continue"'),
            ({"on_compensation_failure": []}, '"stop" or "continue"'),
            ({"key": ""}, "a template such as"),
            ({"key": "order-{order_id}"}, "must be a field of the input"),
            ({"key": "order-{}"}, "must be a field of the input"),
            ({"key": "order-{input[order_id]}"}, "must be a field of the input"),
            ({"key": "order-{input.order_id"}, "is not a valid template"),
            ({"tags": {"order": 7}}, "a dict of templates"),
            ({"tags": {"order": "{x}"}}, r"tags\['order'\]: field {x}"),
            ({"step_defaults": {"max_retry": 1}}, "step_defaults: unknown option"),
            ({"step_defaults": {"pivot": True}}, "step_defaults: unknown option 'pivot'"),
            ({"step_defaults": 5}, "a dict of step options"),
        ],
    )
    def test_an_option_that_is_wrong_is_refused_with_the_cure(
        self, attributes: dict[str, Any], complaint: str
    ) -> None:
        with pytest.raises(SagaDefinitionError, match=f"Pay.Meta.*{complaint}"):
            saga_with(**attributes)

    def test_a_long_running_saga_goes_past_the_cap(self) -> None:
        saga = saga_with(long_running=True, timeout=timedelta(days=2))
        assert saga.definition.timeout == timedelta(days=2)

    def test_meta_is_inherited_when_it_says_so(self) -> None:
        class Base(Saga[OrderInput]):
            class Meta:
                abstract = True
                version = 2

        class Silent(Base): ...

        class Said(Base):
            class Meta(Base.Meta):
                in_place = False

        assert (Silent.definition.version, Said.definition.version) == (1, 2)
        assert not Said.definition.run_plan.in_place
        assert Base.definition.abstract
        assert Said.definition.abstract, "it has no steps"


class TestKey:
    @pytest.mark.parametrize(
        ("template", "saga_input", "key"),
        [
            ("order-{input.order_id}", OrderInput(7), "order-7"),
            ("order-{input.order_id}", {"order_id": 7}, "order-7"),
            (
                "{input.customer.id}/{input.order_id:05}",
                OrderInput(7, Customer("ada")),
                "ada/00007",
            ),
            ("{input.lines[1]}", OrderInput(7, lines=("a", "b")), "b"),
            ("fixed", OrderInput(7), "fixed"),
        ],
    )
    def test_a_key_is_filled_from_the_input(self, template: str, saga_input: Any, key: str) -> None:
        assert saga_with(key=template).definition.key_for(saga_input) == key

    @pytest.mark.parametrize(
        ("template", "saga_input"),
        [
            ("order-{input.order_id}", OrderInput(None)),
            ("order-{input.customer.id}", OrderInput(7)),
            ("order-{input.customer.id}", OrderInput(7, Customer(None))),
            ("order-{input.customer.id}", OrderInput(7, Customer(""))),
        ],
    )
    def test_an_empty_field_would_make_one_key_for_all(
        self, template: str, saga_input: OrderInput
    ) -> None:
        with pytest.raises(IdempotencyRequired, match=r"in Meta.key is empty") as caught:
            saga_with(key=template).definition.key_for(saga_input)
        assert caught.value.location == "transaction"

    def test_without_a_template_a_key_must_be_passed(self) -> None:
        with pytest.raises(IdempotencyRequired, match="pass key= to start_saga"):
            saga_with().definition.key_for(OrderInput(7))

    def test_tags_with_an_empty_field_are_left_out(self) -> None:
        saga = saga_with(tags={"order": "{input.order_id}", "customer": "{input.customer.id}"})
        assert saga.definition.tags_for(OrderInput(7)) == {"order": "7"}
