"""Which queues steps wait on, and whether a worker takes anything from them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from celery import current_app
from django.db.models.functions import Now

from sagas.engine import dispatch
from sagas.engine.publishing import bounded_connection
from sagas.models import StepRun


ROWS = 1_000
"""How many of the steps that wait longest are looked at."""


@dataclass(frozen=True, kw_only=True)
class Consumption:
    """What the workers said."""

    waiting: Mapping[str, int]
    """Steps that are due, by the queue they wait on; of the oldest so many."""

    consumed: frozenset[str] | None
    """Queues that workers consume. None: no worker answered, or the broker did not."""

    @property
    def abandoned(self) -> Mapping[str, int]:
        """Queues that steps wait on and no worker consumes; none when nobody answered."""
        if self.consumed is None:
            return {}
        return {queue: n for queue, n in self.waiting.items() if queue not in self.consumed}


def consumption(seconds: float = 1.0) -> Consumption:
    """Ask the workers, if a step waits. Takes so long, and a few socket time-outs at most."""
    due = StepRun.objects.going_ready(Now()).order_by("due_at").select_related("run")[:ROWS]
    waiting = Counter(dispatch.queue_of(step) for step in due)
    return Consumption(waiting=waiting, consumed=_consumed(seconds) if waiting else None)


def _consumed(seconds: float) -> frozenset[str] | None:
    try:
        with bounded_connection(current_app) as connection:
            inspect = current_app.control.inspect(timeout=seconds, connection=connection)
            replies = inspect.active_queues()
    except Exception:  # noqa: BLE001 whatever the broker's client raises, nobody answered
        return None
    if not replies:
        return None
    return frozenset(queue["name"] for queues in replies.values() for queue in queues)
