"""What an outside party said of a step while it still ran: kept in its row until the attempt ends."""

from sagas.engine.decisions import Outcome, from_answer
from sagas.models import StepRun
from sagas.states import StepState


def answered(step: StepRun, outcome: Outcome) -> tuple[StepRun, Outcome] | None:
    """Return the answer that came while this attempt ran, after the row as it is now; None without.

    It knows more than the attempt, unless that succeeded by itself.
    """
    if not outcome.yields_to_answer:
        return None
    row = StepRun.objects.get(pk=step.pk)
    if row.state != StepState.RUNNING or row.fence != step.fence or row.answer is None:
        return None
    return row, from_answer(row.answer)
