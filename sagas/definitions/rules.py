"""What an option may hold, as a table; the words of the error come from the same table."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TypeGuard

from sagas.exceptions import SagaDefinitionError
from sagas.texts import is_storable


MAX_NAME_LENGTH = 100
"""Of a label and of a step's name, as the columns have it."""

_LABEL = re.compile(r"[A-Za-z0-9_.-]+")
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Whether a value is accepted, and the words for what would be."""

    accepts: Callable[[object], bool]
    expects: str


def check_values(given: Mapping[str, object], rules: Mapping[str, Rule], *, place: str) -> None:
    """Refuse what the rules do not know or do not accept.

    Raises:
        SagaDefinitionError: naming ``place``, the option and what it may be.
    """
    for name, value in given.items():
        if name not in rules:
            raise SagaDefinitionError(
                f"{place}: unknown option {name!r}. {_suggestion(name, rules)}"
            )
        if not rules[name].accepts(value):
            message = f"{place}: {name} must be {rules[name].expects}, not {value!r}."
            raise SagaDefinitionError(message)


def _suggestion(name: str, rules: Mapping[str, Rule]) -> str:
    close = get_close_matches(name, rules, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(sorted(rules))}."


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a text that says something."""
    return is_storable(value) and bool(value.strip())


def is_step_name(value: object) -> TypeGuard[str]:
    """Whether a step can have this name, as far as a name tells by itself."""
    return (
        is_text(value)
        and value.isascii()
        and value.isidentifier()
        and not value.startswith("_")
        and len(value) <= MAX_NAME_LENGTH
    )


def _is_sequence(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(value, list | tuple)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a finite number; ``True`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_int(value: object) -> TypeGuard[int]:
    """Whether it is an ``int``; ``True`` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_flag(value: object) -> TypeGuard[bool]:
    """Whether it is ``True`` or ``False``."""
    return isinstance(value, bool)


def is_label(value: object) -> TypeGuard[str]:
    """Whether it can name a saga in a row and in a task's name."""
    return (
        isinstance(value, str)
        and _LABEL.fullmatch(value) is not None
        and len(value) <= MAX_NAME_LENGTH
    )


def _is_rate(value: object) -> bool:
    return is_number(value) or (isinstance(value, str) and _RATE.fullmatch(value) is not None)


def _are_exceptions(value: object) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(item, type) and issubclass(item, Exception) for item in value
    )


def _is_duration(value: object) -> bool:
    return is_number(value) and value > 0


FLAG = Rule(accepts=is_flag, expects="True or False")
TEXT = Rule(accepts=is_text, expects="a non-empty string")
NAMES = Rule(
    accepts=lambda v: is_step_name(v) or (_is_sequence(v) and all(map(is_step_name, v))),
    expects="the name of a step, or a tuple of such names",
)
_EXCEPTIONS = Rule(accepts=_are_exceptions, expects="a tuple of exception classes")
_DURATION = Rule(accepts=_is_duration, expects="a number of seconds greater than 0")
_OPTIONAL_DURATION = Rule(
    accepts=lambda v: v is None or _is_duration(v),
    expects="a number of seconds greater than 0, or None",
)

CELERY_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "queue": Rule(accepts=lambda v: v is None or is_text(v), expects="a queue's name or None"),
        "priority": Rule(
            accepts=lambda v: v is None or (is_int(v) and 0 <= v <= 255),  # noqa: PLR2004 AMQP's
            expects="a whole number from 0 to 255 or None",
        ),
        "autoretry_for": _EXCEPTIONS,
        "dont_autoretry_for": _EXCEPTIONS,
        "max_retries": Rule(
            accepts=lambda v: is_int(v) and v >= 0,
            expects="a whole number, 0 or more (unlimited retries, None, are not supported)",
        ),
        "retry_backoff": Rule(
            accepts=lambda v: is_flag(v) or (is_int(v) and v >= 1),
            expects="True, False or a whole number of seconds, 1 or more",
        ),
        "retry_backoff_max": _DURATION,
        "retry_jitter": FLAG,
        "default_retry_delay": Rule(
            accepts=lambda v: is_number(v) and v >= 0, expects="a number of seconds, 0 or more"
        ),
        "time_limit": _DURATION,
        "soft_time_limit": _OPTIONAL_DURATION,
        "timeout": _OPTIONAL_DURATION,
        "heartbeat_timeout": _OPTIONAL_DURATION,
        "on_unknown": Rule(
            accepts=lambda v: isinstance(v, str) and v in {"undo", "hold"},
            expects='"undo" or "hold"',
        ),
        "rate_limit": Rule(
            accepts=lambda v: v is None or _is_rate(v),
            expects='a rate as Celery writes it ("50/s", "100/m", "10/h"), or None',
        ),
    }
)
"""Celery's own option names, with Celery's meaning; and ours for the time of a step."""
