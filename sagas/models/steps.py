"""A step of a run, or the compensation of one."""

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from sagas.definitions import StepPlan
from sagas.models.explaining import explain_step
from sagas.models.identifiers import uuid7
from sagas.models.one_of import ByWord, OneOf
from sagas.models.writer import WriterQuerySet
from sagas.states import (
    IN_FLIGHT_STEPS,
    UNATTEMPTED_STEPS,
    Direction,
    SagaState,
    StepState,
    WaitKind,
)


Moment = datetime | Combinable

BEING_REWOUND = 0
"""``rewind`` of the steps that a rewind undoes now."""

GOES_ITS_WAY = (
    Q(direction=Direction.BACKWARD, run__state=SagaState.COMPENSATING)
    | Q(direction=Direction.FORWARD, run__state=SagaState.RUNNING)
    | Q(
        direction=Direction.FORWARD,
        run__state=SagaState.COMPENSATING,
        reconcile_attempts__isnull=False,
    )
    | Q(direction=Direction.FORWARD, run__state=SagaState.COMPLETED, detached=True)
)
"""The run goes in the step's direction: only then may the step begin."""


class StepRunQuerySet(WriterQuerySet["StepRun"]):
    """Steps, in the words of the engine."""

    def forward(self) -> Self:
        """The saga's own steps."""
        return self.filter(direction=Direction.FORWARD)

    def backward(self) -> Self:
        """The compensations."""
        return self.filter(direction=Direction.BACKWARD)

    def present(self) -> Self:
        """Of the present life: not what a rewind ended, which has another row since."""
        return self.exclude(rewind__gt=BEING_REWOUND)

    def in_flight(self) -> Self:
        """Running, waiting for an outside party, or to be asked whether it happened."""
        reconciling = Q(state=StepState.READY, reconcile_attempts__isnull=False)
        return self.filter(Q(state__in=IN_FLIGHT_STEPS) | reconciling)

    def unsent(self, now: Moment) -> Self:
        """Ready, of a run that goes its way, and its message is due (again)."""
        unsent = self.filter(
            state=StepState.READY,
            send_at__lte=now,
            run__paused_at__isnull=True,
        )
        return unsent.filter(GOES_ITS_WAY).order_by("send_at")

    def going_ready(self, now: Moment) -> Self:
        """Ready and due, of a run that goes its way: a worker could begin it now."""
        ready = self.filter(state=StepState.READY, due_at__lte=now, run__paused_at__isnull=True)
        return ready.filter(GOES_ITS_WAY)

    def awaited(self, now: Moment) -> Self:
        """Ready, of a run that goes its way, and its message was sent not long ago."""
        awaited = self.filter(
            state=StepState.READY,
            send_at__gt=now,
            sent_at__isnull=False,
            run__paused_at__isnull=True,
        )
        return awaited.filter(GOES_ITS_WAY)

    def lost(self, now: Moment) -> Self:
        """Running or waiting though the lease ran out; no wait does while its run is paused."""
        lost = self.filter(state__in=IN_FLIGHT_STEPS, lease_until__lte=now)
        paused = Q(state=StepState.WAITING, run__paused_at__isnull=False)
        return lost.exclude(paused).order_by("lease_until")


class StepRun(models.Model):
    """One step of one run, or the compensation of one.

    ``pending_predecessors`` counts the predecessors that are not done; ``successors`` are the ids of the rows
    whose ``pending_predecessors`` this one lowers, so that finishing a step costs the same in any saga.
    ``in_place``: the worker that ended it may go on with its one successor without a message.
    ``in_doubt`` says that an earlier attempt may have taken effect. Where ``reconcile_attempts`` is a
    number, the attempt that is ready or running calls ``reconcile`` instead of acting, and so many have
    before it. ``at_large`` are the fences of
    attempts that were given up and may be alive: each may still act. ``dead_fence`` is that of an
    attempt whose process is known to be gone. ``prepared``: its condition was asked and said yes, and its ``input`` was
    computed, so that no later attempt asks again. ``sent_at`` is since when the message of the attempt to come
    has been on its way (None: it is not), ``sends`` how often one was sent for it, and ``send_at``
    when the sweep looks after it if nobody has claimed it by then. ``expires_at`` is set by the first
    attempt to ``timeout`` from then: later nothing is tried again. ``detached``: nobody
    waits for it, by its declaration, or because it is tried again by hand after the saga had gone on
    without it; so its outcome moves nothing. ``lease_until``
    is how long the step is someone's: a worker's, who renews it, or while it waits an outside
    party's (None: as long as the saga runs). ``wait`` says what the step waits for, or last did:
    ``kind`` is a :class:`~sagas.states.WaitKind` and ``note`` the handler's words. ``answer`` is what
    the outside party said before the step waited, kept until the attempt ends, or with which it failed
    the step. The request that it answers is named by the fence of the attempt which asked. ``rewind`` is 0
    while a rewind undoes the step, and then the number of that rewind: the step lives on in another
    row, with a fresh key, and this one has its name with the number behind it. What its attempts say
    late still counts.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    run = models.ForeignKey(
        "sagas.SagaRun", on_delete=models.CASCADE, related_name="steps", db_index=False
    )
    name = models.CharField(max_length=110)
    direction = models.CharField(max_length=8)
    position = models.IntegerField()
    handler = models.CharField(max_length=100)
    compensation = models.CharField(max_length=100, blank=True, default="")
    state = models.CharField(max_length=11, choices=StepState.choices, default=StepState.PENDING)
    pending_predecessors = models.IntegerField(default=0)
    successors = models.JSONField(default=list, blank=True)
    in_place = models.BooleanField(default=False)
    pivot = models.BooleanField(default=False)
    critical = models.BooleanField(default=True)
    options = models.JSONField(default=dict, blank=True)

    fence = models.IntegerField(default=0)
    dead_fence = models.IntegerField(null=True, blank=True)
    at_large = models.JSONField(null=True, blank=True)
    attempt = models.IntegerField(default=0)
    in_doubt = models.BooleanField(default=False)
    reconcile_attempts = models.SmallIntegerField(null=True, blank=True)
    prepared = models.BooleanField(null=True, blank=True)
    detached = models.BooleanField(default=False)
    rewind = models.SmallIntegerField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    send_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    sends = models.IntegerField(default=0, db_default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    timeout = models.DurationField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    heartbeat = models.JSONField(null=True, blank=True)
    task_id = models.CharField(max_length=100, blank=True, default="")
    worker = models.CharField(max_length=255, blank=True, default="")

    idempotency_key = models.CharField(max_length=255)
    input = models.JSONField(null=True, blank=True)
    output = models.JSONField(null=True, blank=True)
    wait = models.JSONField(null=True, blank=True)
    answer = models.JSONField(null=True, blank=True)
    error_code = models.CharField(max_length=100, blank=True, default="")
    error = models.TextField(blank=True, default="")

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = StepRunQuerySet.as_manager()

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        # Of several lives of a step, the first one first: ids are in the order of time.
        ordering = ("-direction", "position", "id")
        base_manager_name = "objects"
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("run", "name", "direction"), name="sagas_step_run_name_dir"
            ),
            models.CheckConstraint(
                condition=OneOf("direction", Direction.values), name="sagas_step_direction"
            ),
            # What each state needs, in one constraint: PostgreSQL reads all of them for every write.
            models.CheckConstraint(
                condition=ByWord(
                    "state",
                    {
                        StepState.READY.value: Q(due_at__isnull=False, send_at__isnull=False),
                        StepState.RUNNING.value: Q(lease_until__isnull=False),
                    },
                    otherwise=Q(
                        OneOf("state", sorted(UNATTEMPTED_STEPS)), reconcile_attempts__isnull=True
                    ),
                ),
                name="sagas_step_state",
            ),
        )
        indexes = (
            models.Index(fields=("send_at",), condition=Q(state="ready"), name="sagas_step_send"),
            models.Index(
                fields=("lease_until",),
                condition=Q(state__in=sorted(IN_FLIGHT_STEPS)),
                name="sagas_step_lease_until",
            ),
        )

    def __str__(self) -> str:
        return self.name if self.direction == Direction.FORWARD else f"undo of {self.name}"

    @cached_property
    def plan(self) -> StepPlan:
        """What ``options`` say, read once."""
        return StepPlan.from_snapshot(self.options)

    @property
    def declared(self) -> str:
        """The declared step that it runs, or whose compensation it is."""
        return self.plan.declared or self.name

    @property
    def is_past(self) -> bool:
        """Whether a rewind ended it, so that the step lives on in another row."""
        return bool(self.rewind)

    @property
    def present_name(self) -> str:
        """The name that it had in its own life."""
        return self.name.removesuffix(f"~{self.rewind}") if self.is_past else self.name

    @property
    def owner(self) -> str:
        """Who looks after it, as its saga declares; a compensation is its step's owner's by default."""
        return self.plan.owner

    @property
    def is_backward(self) -> bool:
        """Whether this row is a compensation."""
        return self.direction == Direction.BACKWARD

    @property
    def is_reconciling(self) -> bool:
        """Whether the attempt that is ready or running asks if the step happened, instead of acting."""
        return self.reconcile_attempts is not None

    @property
    def is_last(self) -> bool:
        """Whether nothing that its saga waits for comes after it."""
        return self.plan.last or not self.successors

    @property
    def is_irreversible(self) -> bool:
        """Whether it is the point of no return, or stands behind it: nothing can undo it."""
        return self.pivot or self.plan.forward_only

    @property
    def wait_terms(self) -> dict[str, Any]:
        """What it waits for, or did the last time; empty if it never has."""
        return self.wait or {}

    @property
    def is_approval(self) -> bool:
        """Whether a person is to approve it, or was the last time that it waited."""
        return self.wait_terms.get("kind") == WaitKind.APPROVAL

    @property
    def is_to_remind(self) -> bool:
        """Whether the lease of its wait ends at a reminder, and the wait itself later."""
        return self.state == StepState.WAITING and "left_after_reminder" in self.wait_terms

    @property
    def wait_ends_at(self) -> datetime | None:
        """When nobody is waited for any longer; None: as long as the saga runs."""
        if not self.is_to_remind or self.lease_until is None:
            return self.lease_until
        left = self.wait_terms["left_after_reminder"]
        return None if left is None else self.lease_until + timedelta(seconds=left)

    @property
    def happened(self) -> bool:
        """Whether it is known to have happened, undone since or not."""
        return self.state == StepState.SUCCEEDED or (
            self.state == StepState.COMPENSATED and not self.in_doubt
        )

    def explain(self) -> str:
        """Say what this step waits for, as the second half of a sentence."""
        return explain_step(self)
