"""Which request an answer is for.

Each attempt that asks an outside party makes a request, named by the row of the step and the fence of
the attempt. An answer may be on its way for so long that its request was given up, and another one waits.
"""

from sagas.engine.decisions import Failed, Succeeded
from sagas.models import SagaRun, StepRun
from sagas.operations.results import is_same_result
from sagas.operations.verbs import Refused
from sagas.states import OPEN_STEPS


def require_request(step: StepRun, request: int, *, succeeded: bool) -> None:
    """Refuse an answer to a request that has nothing to say of the one which waits.

    A step has one key, so that a success is its success whichever request brought it about. A failure
    is that of its own request alone. And what was undone before something more turned out to have
    happened was undone too early: that answer does not count for the undoing which came after it.
    """
    if request > step.fence:
        raise Refused(f"{step} has made no request {request}")
    if request == step.fence or step.state not in OPEN_STEPS:
        return
    if not succeeded or (step.is_backward and request <= _before_this_life(step)):
        raise Refused(f"request {request} of {step} was given up, and a later one is not answered")


def _before_this_life(step: StepRun) -> int:
    """Return a fence which the attempts of this life are all above: each claim raises both by one.

    A pause raises the fence alone, so at worst some of this life are below, and their answers not taken.
    """
    return step.fence - step.attempt


def says_the_same(run: SagaRun, step: StepRun, outcome: Succeeded | Failed) -> bool:
    """Whether just this answer has been recorded of the step before."""
    if step.answer == outcome.as_answer():
        return True
    if not (isinstance(outcome, Succeeded) and step.happened):
        return False
    return step.is_backward or is_same_result(run, step, step.output, outcome.output)
