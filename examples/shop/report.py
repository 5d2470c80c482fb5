"""What the demo prints at its end, and its verdict."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from django.db.models import F, Sum

from examples.shop.audit import disagreements, remains
from examples.shop.models import Effect
from sagas.models import SagaRun, StepRun
from sagas.states import SagaState, StepState


Expected = dict[UUID, SagaState]


def print_report(runs: Sequence[SagaRun], expected: Expected) -> int:
    """Print the table and the proof; return 1 if anything is not as it must be."""
    surprises = [
        f"{run.key} should have ended {expected[run.pk]}, but is {run.state}: {run.explain()}"
        for run in runs
        if run.state != expected[run.pk]
    ]
    wrong = disagreements(runs)
    print()
    for label, value in _table(runs):
        print(f"  {label:<22} {value}")
    print()
    _print_list(f"Ended otherwise than planned: {len(surprises)}", surprises)
    if wrong:
        _print_list(f"Books and stock DISAGREE with the outcomes: {len(wrong)}", wrong)
    else:
        print(f"  Books and stock agree with the outcomes of all {len(runs)} orders.")
    return int(bool(surprises or wrong))


def _table(runs: Sequence[SagaRun]) -> list[tuple[str, str]]:
    states = Counter(run.state for run in runs)
    warned = sum(run.has_warnings for run in runs)
    completed = str(states.pop(SagaState.COMPLETED, 0))
    if warned:
        completed += f", {warned} of them with a warning from a step that is not critical"
    rows = [
        ("Orders", str(len(runs))),
        ("completed", completed),
        ("compensated", str(states.pop(SagaState.COMPENSATED, 0))),
        ("dead letter", str(states.pop(SagaState.DEAD_LETTER, 0))),
    ]
    rows += [(state, str(count)) for state, count in sorted(states.items())]
    rows += [("  what remains", line) for line in remains(runs)]
    return [*rows, ("Undone", _undone(runs)), *_repetitions(runs)]


def _undone(runs: Sequence[SagaRun]) -> str:
    steps = StepRun.objects.backward().filter(run__in=runs, state=StepState.SUCCEEDED)
    counted = Counter(steps.values_list("handler", flat=True))
    parts = [f"{name.replace('_', ' ')} ({count})" for name, count in counted.most_common()]
    return ", ".join(parts) or "nothing"


def _repetitions(runs: Sequence[SagaRun]) -> list[tuple[str, str]]:
    repeated = StepRun.objects.filter(run__in=runs, attempt__gt=1)
    attempts = repeated.aggregate(total=Sum(F("attempt") - 1))["total"] or 0
    orders = [run.shop_order.pk for run in runs]
    asked = Effect.objects.filter(order_id__in=orders, calls__gt=1)
    calls = asked.aggregate(total=Sum(F("calls") - 1))["total"] or 0
    return [
        ("Repeated attempts", f"{attempts}, in {repeated.count()} steps"),
        ("Repeated calls", f"{calls} reached a service again under the same key"),
    ]


def _print_list(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"  {title}")
        for line in lines:
            print(f"    {line}")
