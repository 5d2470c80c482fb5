"""What an outside party says of a step while it still runs, kept in its row until the attempt ends."""

from typing import Any

from sagas.engine.decisions import Failed, Outcome, Succeeded
from sagas.models import StepRun
from sagas.states import StepState


def as_answer(outcome: Succeeded | Failed) -> dict[str, Any]:
    """Return an outcome as the JSON data that a row keeps."""
    if isinstance(outcome, Succeeded):
        return {"output": outcome.output}
    return {"code": outcome.code, "error": outcome.error}


def answered(step: StepRun, outcome: Outcome) -> tuple[StepRun, Outcome] | None:
    """Return the answer that came while this attempt ran, after the row as it is now; None without.

    It knows more than the attempt, unless that succeeded by itself.
    """
    if isinstance(outcome, Succeeded):
        return None
    row = StepRun.objects.get(pk=step.pk)
    if row.state != StepState.RUNNING or row.fence != step.fence or row.answer is None:
        return None
    if "output" in row.answer:
        return row, Succeeded(output=row.answer["output"])
    return row, Failed(code=row.answer["code"], error=row.answer["error"], definite=True)
