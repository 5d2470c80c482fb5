"""``class FulfilOrder(Saga[OrderInput])``: the base class of every saga."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from sagas.definitions.collect import collect_steps
from sagas.definitions.context import SagaContext
from sagas.definitions.definition import SagaDefinition
from sagas.definitions.fake_invocation import FakeInvocation, rehearsed_run
from sagas.definitions.invocation import Invocation, UndoneStep
from sagas.definitions.meta import read_meta
from sagas.definitions.registry import SagaRegistry
from sagas.definitions.rules import MAX_NAME_LENGTH, is_label
from sagas.exceptions import SagaDefinitionError


I = TypeVar("I")  # noqa: E741 the input's type


class Saga(SagaContext[I]):
    """A saga over an input of type ``I``; its steps are the methods decorated with ``@step``.

    An instance is the saga seen from one attempt of one step. A unit test makes one itself::

        saga = FulfilOrder(OrderInput(order_id=7), results={"reserve_inventory": reservation})
        assert saga.process_payment() == Payment(...)
    """

    definition: ClassVar[SagaDefinition]
    """What the class body declares. Annotations are resolved when they are first needed."""

    def __init__(
        self,
        input: I,  # noqa: A002 the word of the contract
        *,
        invocation: Invocation | None = None,
        results: Mapping[str, object] | None = None,
        undoing: UndoneStep | None = None,
    ) -> None:
        """Look at ``invocation``; without one, at the ``results`` and the ``undoing`` of a test.

        Raises:
            UnknownHandler: ``results`` names a step that this saga has not.
        """
        definition = self.definition
        for name in results or {}:
            definition.step(name)
        super().__init__(
            input,
            invocation
            or FakeInvocation(
                run=rehearsed_run(definition.label, definition.version),
                results=results or {},
                undoing=undoing,
            ),
        )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the class body, and register the saga unless it is abstract or has nothing in it.

        Raises:
            SagaDefinitionError: the class body is wrong; the message names saga, step and cure.
        """
        super().__init_subclass__(**kwargs)
        cls.definition = _define(cls)
        if not cls.definition.abstract:
            registry.register(cls)


registry: SagaRegistry[type[Saga[Any]]] = SagaRegistry()

_LATER_NAMES = {"plan", "Meta"}
RESERVED_NAMES = frozenset(
    {*dir(Saga), *Saga.__annotations__, *SagaContext.__annotations__, *_LATER_NAMES}
)
"""What a step cannot be called: the words of a handler's ``self``."""


def _define(saga: type[Saga[Any]]) -> SagaDefinition:
    meta = read_meta(vars(saga).get("Meta"), saga=saga.__name__)
    steps = collect_steps(saga, meta.step_defaults, RESERVED_NAMES)
    if meta.label is None and not is_label(saga.__name__):
        message = (
            f"{saga.__name__}: a class name in ASCII of at most {MAX_NAME_LENGTH} characters"
            " makes the label; say another by Meta.label."
        )
        raise SagaDefinitionError(message)
    return SagaDefinition(
        saga=saga,
        root=Saga,
        own_label=meta.label,
        version=meta.version,
        key_template=meta.key,
        timeout=meta.timeout,
        long_running=meta.long_running,
        tag_templates=meta.tags,
        run_plan=meta.run_plan,
        abstract=meta.abstract or not (steps or meta.label),
        steps=steps,
    )
