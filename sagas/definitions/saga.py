"""``class FulfilOrder(Saga[OrderInput])``: the base class of every saga."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from sagas.definitions.collect import collect_steps
from sagas.definitions.context import SagaContext
from sagas.definitions.definition import SagaDefinition
from sagas.definitions.fake_invocation import FakeInvocation, rehearsed_run
from sagas.definitions.handler_form import check_handler
from sagas.definitions.invocation import Invocation, UndoneStep
from sagas.definitions.meta import read_meta
from sagas.definitions.registry import SagaRegistry
from sagas.definitions.rules import MAX_NAME_LENGTH, is_label
from sagas.definitions.yielded import PlanItem
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
        known = {definition.row_name(name): result for name, result in (results or {}).items()}
        super().__init__(
            input,
            invocation
            or FakeInvocation(
                run=rehearsed_run(definition.label, definition.version),
                results=known,
                undoing=undoing,
            ),
        )

    @classmethod
    def migrate(cls, version: int, data: Any) -> Any:  # noqa: ARG003 for who overrides it
        """Return the input that ``version`` of this saga stored, as this version would store it.

        Override it when a new ``Meta.version`` wants another input: ``data`` is JSON data, as that
        version wrote it, and a copy. Asked each time a run of a lower version is loaded; what is
        stored stays as it is, so that workers of before go on reading it. When it raises, or what it
        returns does not fit the input's type, the step waits and says so. As given, it returns ``data``.
        """
        return data

    @classmethod
    def plan(cls, input: I, /) -> Iterable[PlanItem]:  # noqa: A002, ARG003 for who overrides it
        """Yield the steps of a run with this input, in order; as given, all of them.

        Override it to leave a step out by not yielding it, to repeat one by
        ``cls.ship_line.bind(line, name=f"ship_line[{line.sku}]")``, or to take in the steps of another
        saga by yielding its class. Asked once, by :func:`~sagas.start_saga`, whose rows keep the answer.
        """
        return [getattr(cls, step.name) for step in cls.definition.steps]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Read the class body, and register the saga unless it is abstract or has nothing in it.

        Raises:
            SagaDefinitionError: the class body is wrong; the message names saga, step and cure.
        """
        super().__init_subclass__(**kwargs)
        cls.definition = define(cls)
        if not cls.definition.abstract:
            registry.register(cls)


registry: SagaRegistry[type[Saga[Any]]] = SagaRegistry()

_LATER_NAMES = {"Meta"}
RESERVED_NAMES = frozenset(
    {*dir(Saga), *Saga.__annotations__, *SagaContext.__annotations__, *_LATER_NAMES}
)
"""What a step cannot be called: the words of a handler's ``self``."""


def define(saga: type[Saga[Any]]) -> SagaDefinition:
    """Return what the body of a saga class declares.

    Raises:
        SagaDefinitionError: the class body is wrong; the message names saga, step and cure.
    """
    meta = read_meta(vars(saga).get("Meta"), saga=saga.__name__)
    steps = collect_steps(saga, meta.step_defaults, RESERVED_NAMES)
    _check_classmethod(saga, "migrate", arguments=3, form="(cls, version, data)")
    _check_classmethod(saga, "plan", arguments=2, form="(cls, input)")
    has_plan = inspect.getattr_static(saga, "plan") is not vars(Saga)["plan"]
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
        abstract=meta.abstract or not (steps or meta.label or has_plan),
        steps=steps,
        has_plan=has_plan,
    )


def _check_classmethod(saga: type[Saga[Any]], name: str, *, arguments: int, form: str) -> None:
    declared = inspect.getattr_static(saga, name)
    function = declared.__func__ if isinstance(declared, classmethod) else None
    place = f"{saga.__name__}.{name}"
    if function is None:
        raise SagaDefinitionError(f"{place} is a classmethod: put @classmethod above it.")
    check_handler(
        function, arguments=(arguments,), form=form, place=place, may_yield=name == "plan"
    )
