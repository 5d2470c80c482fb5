"""The declared sagas, seen whole."""

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004 Django's word

from sagas.checks.tag import TAG
from sagas.choreography import reaction_problems
from sagas.definitions import registry


@register(TAG)
def check_labels(**_: Any) -> list[CheckMessage]:
    """Report labels that two sagas have: a row could not say which of them it is."""
    return [
        Error(
            f"{label} is the label of {' and of '.join(map(_dotted, sagas))}.",
            hint="Give one of them another Meta.label.",
            obj=sagas[-1],
            id="sagas.E002",
        )
        for label, sagas in registry.duplicates().items()
    ]


@register(TAG)
def check_definitions(**_: Any) -> list[CheckMessage]:
    """Report what is wrong with each saga, seen whole."""
    return [
        (Error if problem.is_error else Warning)(
            problem.message, hint=problem.hint, obj=saga, id=problem.id
        )
        for saga in registry.all()
        for problem in (*saga.definition.problems(), *reaction_problems(saga))
    ]


def _dotted(saga: type) -> str:
    return f"{saga.__module__}.{saga.__qualname__}"
