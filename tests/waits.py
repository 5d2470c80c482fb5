"""Sagas that wait for an outside party, and the answers that it gives."""

from collections.abc import Callable

import pytest

from sagas import start_saga, step
from sagas.engine.recover import sweep
from sagas.exceptions import ActionNotAllowed, StepTimeout
from sagas.models import SagaRun
from sagas.operations import complete_step
from tests.driving import drive, everything, expire_lease, step_of
from tests.traced import Diamond, Five, Receipt, Script, Traced


def five(**faults: str) -> SagaRun:
    return drive(start_saga(Five, Script(faults), key="k"))


def diamond(**faults: str) -> SagaRun:
    return drive(start_saga(Diamond, Script(faults), key="k"))


def undoing(**faults: str) -> SagaRun:
    """A saga whose step ``d`` failed and whose second compensation waits."""
    return five(d="permanent", undo_b="wait", **faults)


def answer(run: SagaRun, name: str, of: str = "outside") -> SagaRun:
    return complete_step(run, name, result=Receipt(of), reason="they called", actor="webhook")


def run_out(run: SagaRun, name: str, direction: str = "forward") -> None:
    """Let the wait of a step run out."""
    expire_lease(step_of(run, name, direction=direction).pk)
    assert sweep().lost == 1


def refused(act: Callable[[], object], why: str) -> None:
    before = everything()
    with pytest.raises(ActionNotAllowed, match=why):
        act()
    assert everything() == before


class Patient(Traced):
    """Its only step is tried again when nobody completed it, and can be asked about."""

    class Meta:
        label = "tests.Patient"

    @step(max_retries=1, autoretry_for=[StepTimeout])
    def act_outside(self) -> Receipt:
        return self.act("act")

    @act_outside.compensation
    def undo_act(self, receipt: Receipt | None) -> None:
        self.undo("undo_act", receipt)

    @act_outside.reconcile
    def find_act(self) -> Receipt | None:
        self.act("find")
        return Receipt("found")
