"""What the page of one run shows: its steps and events, ready to print."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db.models import TextField
from django.db.models.functions import Cast, Left, Now
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString

from sagas.admin.badges import state_badge
from sagas.admin.verbs import VerbPage, legal_step_pages
from sagas.admin.waits import Wait, waits_of
from sagas.conf import saga_settings
from sagas.durations import format_duration
from sagas.models import SagaEvent, SagaRun, StepRun
from sagas.models.moments import aware
from sagas.operations.verbs import StepVerb
from sagas.states import DONE, SagaState, StepState


PAYLOAD_SHOWN = 20_000
"""Characters of a step's payload that a page shows."""

EVENTS_SHOWN = 200

CHILDREN_SHOWN = 50


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """A step and what its row does not say by itself."""

    step: StepRun
    badge: SafeString
    queue: str
    duration: str
    task_url: str
    verbs: Sequence[VerbPage[StepVerb]]
    """What this user can do to it now."""
    payloads: tuple[tuple[str, str], ...]
    wait: Wait | None
    """Set while it waits for an outside party."""

    @property
    def anchor(self) -> str:
        """Name of the place on the page."""
        return f"step-{self.step.direction}-{self.step.name}"


@dataclass(frozen=True, kw_only=True)
class Events:
    """The latest events, in their order, and whether older ones were left out."""

    rows: list[SagaEvent]
    has_older: bool


def step_lines(run: SagaRun, request: HttpRequest, now: datetime) -> list[StepLine]:
    """Return the steps of ``run``, forward and then backward."""
    task_results = _task_results_url(request)
    steps = list(_steps_with_cut_payloads(run))
    verbs = legal_step_pages(run, steps, request)
    waits = waits_of(run, steps, steps[0].read_at) if steps else {}
    return [
        StepLine(
            step=step,
            badge=state_badge(StepState(step.state)),
            queue=_queue(step),
            duration=_duration(step.started_at, step.ended_at, now),
            task_url=f"{task_results}?task_id={step.task_id}" if task_results else "",
            verbs=verbs.get(step.pk, ()),
            payloads=_payloads(step),
            wait=waits.get(step.pk),
        )
        for step in steps
    ]


def latest_events(run: SagaRun, *, everything: bool) -> Events:
    """Return the events of ``run``, oldest first."""
    newest_first = run.events.select_related("step").order_by("-pk")
    newest_first = newest_first.defer(
        "step__input",
        "step__output",
        "step__answer",
        "step__options",
        "step__successors",
        "step__error",
    )
    rows = list(newest_first if everything else newest_first[: EVENTS_SHOWN + 1])
    has_older = not everything and len(rows) > EVENTS_SHOWN
    shown = rows[:EVENTS_SHOWN] if has_older else rows
    return Events(rows=shown[::-1], has_older=has_older)


def has_problem(run: SagaRun) -> bool:
    """Whether the page should say what went wrong."""
    return bool(
        run.error
        or run.compensation_error
        or run.has_warnings
        or run.state == SagaState.DEAD_LETTER
    )


def pretty(data: Any) -> str:
    """Return JSON data for reading."""
    return json.dumps(data, indent=2, ensure_ascii=False)


def run_duration(run: SagaRun, now: datetime) -> str:
    """Return how long the run took, or has taken so far."""
    return _duration(run.created_at, run.completed_at, now)


def _duration(start: datetime | None, end: datetime | None, now: datetime) -> str:
    # Two machines wrote the two moments; their clocks may differ by a little.
    if start is None:
        return ""
    return format_duration(max(aware(end or now) - aware(start), timedelta(0)))


def _steps_with_cut_payloads(run: SagaRun) -> Iterable[Any]:
    """A page of 500 steps must not load 500 whole payloads: the database cuts them.

    It tells its own time with them.
    """
    cut = {
        f"{name}_text": Left(Cast(name, TextField()), PAYLOAD_SHOWN + 1)
        for name in ("input", "output")
    }
    steps = run.steps.defer("input", "output", "answer")
    return steps.annotate(**cut, read_at=Now())


def _payloads(step: Any) -> tuple[tuple[str, str], ...]:
    texts = (("input", step.input_text), ("output", step.output_text))
    return tuple((name, _readable(text)) for name, text in texts if text is not None)


def _readable(text: str) -> str:
    if len(text) > PAYLOAD_SHOWN:
        return f"{text[:PAYLOAD_SHOWN]}…"
    return pretty(json.loads(text))


def _queue(step: StepRun) -> str:
    """Return where its messages go; an event of a trace has none."""
    if step.state in DONE and not step.attempt:
        return ""
    settings = saga_settings()
    default = settings.COMPENSATION_QUEUE if step.is_backward else settings.STEP_QUEUE
    return step.plan.queue or default


def _task_results_url(request: HttpRequest) -> str:
    """Return the list of task results, if there is one that this user may see."""
    if not apps.is_installed("django_celery_results"):
        return ""
    if not request.user.has_perm("django_celery_results.view_taskresult"):
        return ""
    try:
        return reverse("admin:django_celery_results_taskresult_changelist")
    except NoReverseMatch:
        return ""
