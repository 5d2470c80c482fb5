"""What a living process writes of the attempts that it makes."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from django.db.models.functions import Now

from sagas.engine.database import saga_database
from sagas.engine.isolation import statement_alone
from sagas.engine.transitions import postgresql
from sagas.engine.transitions.attempt import renew_lease
from sagas.models import StepRun
from sagas.states import StepState


Held = tuple[UUID, int]
"""An attempt: its step, and its fence."""


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What became of the leases that were not renewed."""

    lost: Collection[Held]
    """Their attempts were given up."""

    locked: Collection[Held]
    """Another transaction has their rows."""


def renew_leases(held: Collection[Held]) -> Renewal:
    """Extend the leases of living attempts. On PostgreSQL this waits for nobody's lock."""
    if postgresql.in_use():
        renewed = postgresql.renew(held)
    else:
        renewed = {(step_id, fence) for step_id, fence in held if renew_lease(step_id, fence)}
    left = {*held} - renewed
    if not left:
        return Renewal(lost=(), locked=())
    rows = StepRun.objects.filter(pk__in=[step_id for step_id, _ in left], state=StepState.RUNNING)
    locked = left & {*rows.values_list("pk", "fence")}
    return Renewal(lost=left - locked, locked=locked)


def keep_prepared(step: StepRun) -> bool:
    """Keep the step's input, and that its condition said yes; False when the attempt was given up.

    Later attempts are not to ask again: what they would see may be this one's effect.
    """
    mine = StepRun.objects.filter(pk=step.pk, state=StepState.RUNNING, fence=step.fence)
    with statement_alone(saga_database()):
        return bool(mine.update(prepared=True, input=step.input, updated_at=Now()))


def keep_input(step: StepRun) -> None:
    """Keep the input of an atomic attempt: with its outcome, or for the next one when it is rolled back."""
    mine = StepRun.objects.filter(pk=step.pk, fence=step.fence)
    with statement_alone(saga_database()):
        mine.update(prepared=True, input=step.input, updated_at=Now())
