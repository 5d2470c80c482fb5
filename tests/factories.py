"""Rows as the engine would leave them, for tests of what reads them."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from sagas.models import SagaEvent, SagaRun, StepRun, SweepRecord
from sagas.states import FINAL_SAGAS, Direction, EventType, SagaState, StepState


def make_run(state: SagaState = SagaState.RUNNING, key: str = "order-1", **columns: Any) -> SagaRun:
    """A run without steps, read back so that its database defaults are known."""
    now = timezone.now()
    values = {
        "label": "shop.FulfilOrder",
        "remaining": 0 if state in FINAL_SAGAS else 1,
        "input": {"order_id": key},
        "deadline": now + timedelta(minutes=15),
        "completed_at": now if state in FINAL_SAGAS else None,
    }
    run = SagaRun.objects.create(state=state, key=key, **{**values, **columns})
    return SagaRun.objects.get(pk=run.pk)


def make_step(
    run: SagaRun,
    name: str,
    state: StepState = StepState.SUCCEEDED,
    direction: Direction = Direction.FORWARD,
    **columns: Any,
) -> StepRun:
    """A step in the place after those that ``run`` has."""
    now = timezone.now()
    values: dict[str, Any] = {
        "position": run.steps.filter(direction=direction).count(),
        "handler": name,
        "idempotency_key": f"{run.label}:{run.key}:{name}",
    }
    if state not in {StepState.PENDING, StepState.READY, StepState.CANCELLED}:
        values |= {"attempt": 1, "started_at": now - timedelta(seconds=2), "worker": "worker1@shop"}
    if state not in {StepState.PENDING, StepState.READY, StepState.RUNNING, StepState.WAITING}:
        values |= {"ended_at": now}
    if state == StepState.READY:
        values |= {"due_at": now, "send_at": now}
    if state == StepState.RUNNING:
        values |= {"lease_until": now + timedelta(seconds=15)}
    return StepRun.objects.create(
        run=run, name=name, state=state, direction=direction, **{**values, **columns}
    )


def make_dead_letter(key: str = "order-1", **columns: Any) -> SagaRun:
    """A run past its point of no return whose last step failed for good."""
    failure = {
        "failed_step": "create_shipment",
        "error_code": "CARRIER_DOWN",
        "error": "the carrier does not answer",
        "pivot_passed": True,
    }
    run = make_run(SagaState.DEAD_LETTER, key, **{**failure, **columns})
    make_step(run, "reserve_inventory", output={"reservation": 7})
    make_step(run, "process_payment", output={"charge": "ch_1"}, pivot=True)
    make_step(
        run,
        "create_shipment",
        StepState.FAILED,
        error=run.error,
        error_code=run.error_code,
        task_id="a-task-id",
    )
    SagaEvent.objects.create(
        run=run, type=EventType.DEAD_LETTERED, from_state="running", to_state="dead_letter"
    )
    return run


def make_running(key: str = "order-1", **columns: Any) -> SagaRun:
    """A run whose second of three steps is being attempted."""
    run = make_run(SagaState.RUNNING, key, **columns)
    make_step(run, "reserve_inventory")
    make_step(run, "process_payment", StepState.RUNNING)
    make_step(run, "create_shipment", StepState.PENDING, pending_predecessors=1, pivot=True)
    return run


def make_waiting(key: str = "order-1", **columns: Any) -> SagaRun:
    """A run whose second of three steps waits for an outside party."""
    run = make_run(SagaState.RUNNING, key, **columns)
    make_step(run, "reserve_inventory")
    make_step(run, "process_payment", StepState.WAITING)
    make_step(run, "create_shipment", StepState.PENDING, pending_predecessors=1, pivot=True)
    return run


def record_sweep(age: timedelta = timedelta(0), worker: str = "worker1@shop") -> None:
    """The last sweep ran ``age`` ago."""
    moment = timezone.now() - age
    SweepRecord.objects.update_or_create(pk=1, defaults={"swept_at": moment, "worker": worker})


def make_operator(*permissions: str) -> User:
    """A member of staff who may do this and nothing else."""
    user = User.objects.create_user("operator", is_staff=True)
    granted = Permission.objects.filter(content_type__app_label="sagas", codename__in=permissions)
    assert len(granted) == len(permissions)
    user.user_permissions.set(granted)
    return user
