"""A run of a saga."""

import time
from functools import cached_property
from typing import Any, Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.db.models.lookups import Exact, IsNull
from django.utils.translation import gettext_lazy as _

from sagas.definitions import RunPlan
from sagas.models import explanations
from sagas.models.identifiers import uuid7
from sagas.models.one_of import OneOf
from sagas.models.run_sets import RunSet
from sagas.models.steps import BEING_REWOUND, StepRun
from sagas.states import (
    ACTIVE_SAGAS,
    FAILED_SAGAS,
    FINAL_SAGAS,
    OPEN_SAGAS,
    OPEN_STEPS,
    ROLLED_BACK_SAGAS,
    UNDOING_SAGAS,
    UNSUCCESSFUL_STEPS,
    Direction,
    SagaState,
    StepState,
)


class SagaRunQuerySet(RunSet["SagaRun"]):
    """The runs of the database."""


class SagaRun(models.Model):
    """One saga of one input, from its start to its final state.

    ``remaining`` counts the last steps of the current direction that have not ended: at 0 nothing
    is left to do that way. ``outcome_when_undone`` is what a run that turned back will be called at its end.
    ``parent_step`` is the step of another run that is this saga; ``owes_parent``: it ended, and that
    step is still to be told. ``fingerprint`` is the same for failures with the same cause. ``poisoned``: the automatic
    retries of a dead letter are spent. ``rewind_to`` is the step that a rewind leads to, until the run
    goes forward again. ``rewinds`` has one entry for each rewind, in order: ``to``, and ``input``, the
    input that it replaced (until it has, the one that is to come), with the ``version`` that stored it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    label = models.CharField(max_length=100)
    version = models.IntegerField(default=1)
    key = models.CharField(max_length=255)
    state = models.CharField(
        max_length=12, choices=SagaState.choices, default=SagaState.RUNNING, db_default="running"
    )
    outcome_when_undone = models.CharField(max_length=12, blank=True, default="")
    rewind_to = models.CharField(max_length=110, blank=True, default="", db_default="")
    rewinds = models.JSONField(null=True, blank=True)
    remaining = models.IntegerField()
    pivot_passed = models.BooleanField(default=False)
    has_warnings = models.BooleanField(default=False)

    input = models.JSONField(null=True, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    options = models.JSONField(default=dict, blank=True)

    failed_step = models.CharField(max_length=100, blank=True, default="")
    error_code = models.CharField(max_length=100, blank=True, default="")
    error = models.TextField(blank=True, default="")
    compensation_error = models.TextField(blank=True, default="")
    failed_at = models.DateTimeField(null=True, blank=True)

    deadline = models.DateTimeField()
    parent_step = models.ForeignKey(
        "sagas.StepRun",
        on_delete=models.SET_NULL,
        # A constraint would keep the steps from being dropped by the month.
        db_constraint=False,
        related_name="children",
        null=True,
        blank=True,
        db_index=False,
        editable=False,
    )
    owes_parent = models.BooleanField(default=False, editable=False)
    retry_count = models.SmallIntegerField(default=0)
    auto_retry_count = models.SmallIntegerField(default=0)
    auto_retry_at = models.DateTimeField(null=True, blank=True)
    poisoned = models.BooleanField(default=False)
    fingerprint = models.CharField(max_length=16, blank=True, default="")
    paused_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    completed_at = models.DateTimeField(null=True, blank=True)

    created = False
    """Set by ``start_saga()`` on what it returns: whether that call made the run."""

    objects = SagaRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("saga run")
        verbose_name_plural = _("saga runs")
        ordering = ("-id",)
        base_manager_name = "objects"
        default_permissions = ("view", "delete")
        permissions = (
            ("retry_sagarun", _("Can retry sagas")),
            ("cancel_sagarun", _("Can cancel sagas")),
            ("compensate_sagarun", _("Can compensate sagas")),
            ("resolve_sagarun", _("Can resolve sagas by hand")),
            ("revert_sagarun", _("Can revert completed sagas")),
            ("rewind_sagarun", _("Can rewind sagas")),
            ("pause_sagarun", _("Can pause and resume sagas")),
            ("skip_step_sagarun", _("Can skip steps of sagas")),
            ("answer_step_sagarun", _("Can complete and fail waiting steps of sagas")),
        )
        constraints = (
            models.UniqueConstraint(fields=("label", "key"), name="sagas_run_label_key"),
            models.CheckConstraint(
                condition=OneOf("state", SagaState.values), name="sagas_run_state"
            ),
            models.CheckConstraint(
                condition=OneOf(
                    "outcome_when_undone", ("", *sorted(ROLLED_BACK_SAGAS), SagaState.RUNNING.value)
                ),
                name="sagas_run_outcome_when_undone",
            ),
            models.CheckConstraint(
                condition=Exact(
                    OneOf("state", sorted(FINAL_SAGAS)), IsNull(F("completed_at"), rhs=False)
                ),
                name="sagas_run_completed_at",
            ),
        )
        indexes = (
            models.Index(
                fields=("state", "id"),
                condition=Q(state__in=sorted(OPEN_SAGAS)),
                name="sagas_run_open",
            ),
            models.Index(
                fields=("deadline",), condition=Q(state="running"), name="sagas_run_deadline"
            ),
            models.Index(
                fields=("auto_retry_at",),
                condition=Q(auto_retry_at__isnull=False),
                name="sagas_run_auto_retry",
            ),
            models.Index(fields=("id",), condition=Q(has_warnings=True), name="sagas_run_warnings"),
            models.Index(
                fields=("parent_step",),
                condition=Q(parent_step__isnull=False),
                name="sagas_run_parent_step",
            ),
            models.Index(
                fields=("id",), condition=Q(owes_parent=True), name="sagas_run_owes_parent"
            ),
            models.Index(
                fields=("key",), opclasses=("varchar_pattern_ops",), name="sagas_run_key_prefix"
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} {self.key}"

    @cached_property
    def plan(self) -> RunPlan:
        """What ``options`` say, read once."""
        return RunPlan.from_snapshot(self.options)

    @property
    def parent(self) -> "SagaRun | None":
        """The run of which this one is a step; None of one that was started by itself."""
        return None if self.parent_step is None else self.parent_step.run

    @property
    def children(self) -> "models.QuerySet[SagaRun]":
        """The runs that are steps of this one, in the order in which they were started."""
        return SagaRun.objects.filter(parent_step__run=self).order_by("id")

    @property
    def is_completed(self) -> bool:
        """Whether all critical steps succeeded."""
        return self.state == SagaState.COMPLETED

    @property
    def is_failed(self) -> bool:
        """Whether it did not reach its goal: rolled back, or waiting for a human."""
        return self.state in FAILED_SAGAS

    @property
    def is_compensating(self) -> bool:
        """Whether it is on its way back."""
        return self.state == SagaState.COMPENSATING

    @property
    def is_rewinding(self) -> bool:
        """Whether it goes forward again when some of its steps are undone."""
        return self.state in UNDOING_SAGAS and self.outcome_when_undone == SagaState.RUNNING

    def input_of(self, step: StepRun) -> tuple[Any, int]:
        """Return the input of the life that ``step`` belongs to, and the version that stored it."""
        if not step.rewind:
            return self.input, self.version
        rewind = self.rewound[step.rewind - 1]
        return rewind["input"], rewind["version"]

    @property
    def rewound(self) -> list[dict[str, Any]]:
        """What ``rewinds`` says, also of a run that was never rewound."""
        return list(self.rewinds or [])

    @property
    def is_compensated(self) -> bool:
        """Whether everything that ran or may have run was undone."""
        return self.state in ROLLED_BACK_SAGAS

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in FINAL_SAGAS

    @property
    def outcome(self) -> str:
        """What came of it: ``completed``, ``failed``, ``cancelled``, ... or ``""`` while active."""
        if self.state in ACTIVE_SAGAS:
            return ""
        return "failed" if self.state == SagaState.COMPENSATED else str(self.state)

    def completed_steps(self) -> "models.QuerySet[StepRun]":
        """Forward steps that succeeded, in order of declaration."""
        return self.steps.forward().present().filter(state=StepState.SUCCEEDED)

    def failed_steps(self) -> "models.QuerySet[StepRun]":
        """Steps of either direction that failed or whose outcome is unknown; not what a rewind ended."""
        return self.steps.filter(state__in=UNSUCCESSFUL_STEPS).exclude(
            direction=Direction.FORWARD, rewind__gt=BEING_REWOUND
        )

    def next_step(self) -> "StepRun | None":
        """Return the first step that runs or could run now."""
        return self.steps.filter(state__in=OPEN_STEPS).first()

    def wait(self, timeout: float = 30.0, *, interval: float = 0.05) -> Self:
        """Poll until the run needs no worker any more; for tests and scripts.

        ``timeout`` and ``interval`` are seconds. Returns the run, fresh from the database.

        Raises:
            TimeoutError: the run is still active; the message explains where it stands.
        """
        until = time.monotonic() + timeout
        while True:
            self.refresh_from_db()
            if self.state not in ACTIVE_SAGAS:
                return self
            if time.monotonic() > until:
                message = f"{self} is still {self.state} after {timeout} s: {self.explain()}"
                raise TimeoutError(message)
            time.sleep(interval)

    def explain(self) -> str:
        """Say in one sentence why the run is where it is and what happens next."""
        return explanations.explain(self)
