"""The operator's verbs: the only public way to change a run, for admin, CLI, HTTP and code alike.

Each takes the run's lock, checks what the row says now, and returns the fresh run or raises
:class:`~sagas.exceptions.ActionNotAllowed`, which names the state and what would be allowed. When two
operators act at the same time, one wins and the other is refused. A run that another transaction keeps
locked is :class:`~sagas.exceptions.TransactionLocked` after a few seconds: an operator's click never hangs.

A new verb is a function, its rule and its entry in the table, all three in one module of this package
(:mod:`~sagas.operations.pausing` is the shortest); its name below; and its page in ``sagas/admin/verbs.py``.
The command line takes it from the table.
"""

from sagas.operations.allowed import allowed_actions, allowed_step_actions
from sagas.operations.answering import complete_compensation, complete_step, fail_step
from sagas.operations.approving import approve_step, reject_step
from sagas.operations.dead_letters import resolve_saga, retry_saga
from sagas.operations.pausing import pause_saga, resume_saga
from sagas.operations.plans import PreviewedStep, preview_plan
from sagas.operations.preview import (
    PlannedUndo,
    RewindPreview,
    preview_compensation,
    preview_rewind,
)
from sagas.operations.results import result_from_json, result_type
from sagas.operations.rewinding import input_from_json, input_type, rewind_saga
from sagas.operations.steps import retry_step, skip_step
from sagas.operations.turning_back import cancel_saga, compensate_saga


__all__ = [
    "PlannedUndo",
    "PreviewedStep",
    "RewindPreview",
    "allowed_actions",
    "allowed_step_actions",
    "approve_step",
    "cancel_saga",
    "compensate_saga",
    "complete_compensation",
    "complete_step",
    "fail_step",
    "input_from_json",
    "input_type",
    "pause_saga",
    "preview_compensation",
    "preview_plan",
    "preview_rewind",
    "reject_step",
    "resolve_saga",
    "result_from_json",
    "result_type",
    "resume_saga",
    "retry_saga",
    "retry_step",
    "rewind_saga",
    "skip_step",
]
