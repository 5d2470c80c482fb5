"""``class Meta`` of a saga: what holds for the whole run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Literal

from sagas.conf import MAX_EXECUTION_DURATION
from sagas.definitions.options import STEP_DEFAULTS_RULES, check_options
from sagas.definitions.rules import (
    FLAG,
    MAX_NAME_LENGTH,
    Rule,
    check_values,
    is_int,
    is_label,
    is_text,
)
from sagas.definitions.snapshot import Snapshot
from sagas.definitions.templates import Template
from sagas.exceptions import SagaDefinitionError


@dataclass(frozen=True, kw_only=True)
class RunPlan(Snapshot):
    """What the row of a run keeps of ``class Meta``."""

    on_compensation_failure: Literal["stop", "continue"] = "stop"
    """Whether what is left is undone too before the saga is a dead letter."""

    in_place: bool = True
    """Whether a worker goes on with the next step without a message, where that is possible."""

    auto_retry: int = 0
    """How often a dead letter is retried by itself, after 10, 20, 40 ... seconds."""

    @property
    def continues_undoing(self) -> bool:
        """Whether what is left is undone though a compensation failed."""
        return self.on_compensation_failure == "continue"


@dataclass(frozen=True, kw_only=True)
class SagaMeta:
    """The options of a saga, checked."""

    abstract: bool = False
    """A base for other sagas: not registered, cannot be started. Not inherited."""

    label: str | None = None
    """What rows call the saga, so that its class can be renamed. None: ``<app_label>.<ClassName>``."""

    version: int = 1
    """Stored with each run. Raise it with a ``migrate()``, and when code of before must not run what
    this code starts: a worker of a lower version leaves such runs to others."""

    key: Template | None = None
    """The idempotency key, as a template of the input; or ``start_saga(key=...)`` says it."""

    timeout: timedelta = MAX_EXECUTION_DURATION
    """How long a run may go forward before it turns back."""

    long_running: bool = False
    """Whether ``timeout`` may be longer than 15 minutes."""

    tags: Mapping[str, Template] = field(default_factory=dict)
    """What operators search by, as templates of the input."""

    step_defaults: Mapping[str, object] = field(default_factory=dict)
    """The options of each step that does not say otherwise; not those of compensations."""

    run_plan: RunPlan = RunPlan()


def _is_text_mapping(value: object) -> bool:
    return isinstance(value, Mapping) and all(map(is_text, [*value.keys(), *value.values()]))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "abstract": FLAG,
        "label": Rule(
            accepts=is_label,
            expects=f"letters, digits, '_', '.' or '-', at most {MAX_NAME_LENGTH} in all",
        ),
        "version": Rule(
            accepts=lambda v: is_int(v) and v >= 1, expects="a whole number, 1 or more"
        ),
        "key": Rule(accepts=is_text, expects='a template such as "order-{input.order_id}"'),
        "timeout": Rule(
            accepts=lambda v: isinstance(v, timedelta) and v > timedelta(0),
            expects="a timedelta greater than 0",
        ),
        "long_running": FLAG,
        "tags": Rule(
            accepts=_is_text_mapping,
            expects='a dict of templates such as {"customer": "{input.customer_id}"}',
        ),
        "step_defaults": Rule(
            accepts=lambda v: isinstance(v, Mapping), expects="a dict of step options"
        ),
        "on_compensation_failure": Rule(
            accepts=lambda v: isinstance(v, str) and v in {"stop", "continue"},
            expects='"stop" or "continue"',
        ),
        "in_place": FLAG,
        "auto_retry": Rule(
            accepts=lambda v: is_int(v) and v >= 0, expects="a whole number, 0 or more"
        ),
    }
)


def read_meta(meta: type | None, *, saga: str) -> SagaMeta:
    """Return what ``Meta`` says; None is a saga without one.

    Raises:
        SagaDefinitionError: an unknown attribute or a wrong value; it names ``saga`` and the cure.
    """
    place = f"{saga}.Meta"
    given = _attributes(meta)
    check_values(given, RULES, place=place)
    _check_timeout(given, place)
    if "key" in given:
        given["key"] = Template.checked(given["key"], place=f"{place}.key")
    if "tags" in given:
        given["tags"] = {
            name: Template.checked(text, place=f"{place}.tags[{name!r}]")
            for name, text in given["tags"].items()
        }
    if "step_defaults" in given:
        given["step_defaults"] = check_options(
            given["step_defaults"], place=f"{place}.step_defaults", rules=STEP_DEFAULTS_RULES
        )
    kept = {field.name: given.pop(field.name) for field in fields(RunPlan) if field.name in given}
    return SagaMeta(**given, run_plan=RunPlan(**kept))


def _attributes(meta: type | None) -> dict[str, Any]:
    if meta is None:
        return {}
    inherited = {
        name: value
        for base in reversed(meta.__mro__[:-1])
        for name, value in vars(base).items()
        if not name.startswith("__")
    }
    if "abstract" not in vars(meta):
        inherited.pop("abstract", None)
    return inherited


def _check_timeout(given: Mapping[str, Any], place: str) -> None:
    timeout = given.get("timeout")
    if given.get("long_running"):
        if timeout is None:
            message = f"{place}: a long_running saga says its own timeout, as timedelta(days=2)."
            raise SagaDefinitionError(message)
    elif timeout is not None and timeout > MAX_EXECUTION_DURATION:
        message = (
            f"{place}: timeout is at most {MAX_EXECUTION_DURATION};"
            " set long_running = True for a saga that takes longer."
        )
        raise SagaDefinitionError(message)
