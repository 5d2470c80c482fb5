"""The operator of the crash matrix: asked whether a step happened, he looks at what it left outside."""

from sagas.models import SagaRun
from sagas.operations import retry_saga, skip_step
from sagas.states import SagaState
from tests.faults.crashes.sagas import Held
from tests.faults.verdict import HELD
from tests.flows import ledger


def is_left_to_one(run: SagaRun) -> bool:
    """Whether the saga asks a human of what it does not know."""
    return run.label == Held.definition.label


def decide(run: SagaRun, book: str) -> None:
    """Say of a dead letter that it happened, if it did; else have it done."""
    if not is_left_to_one(run):
        return
    run.refresh_from_db(fields=["state"])
    if run.state != SagaState.DEAD_LETTER:
        return
    told = [(entry.what, entry.phase) for entry in ledger.read(book)]
    if (HELD, "forward") in told:
        skip_step(run, HELD, result=HELD, reason="it is in the ledger")
    else:
        retry_saga(run, reason="it is not in the ledger")
    run.refresh_from_db(fields=["state"])
