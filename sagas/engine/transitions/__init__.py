"""The only writer of state.

Every function here is one guarded change: ``UPDATE ... WHERE state = <from> AND fence = <mine>``.
It answers won or lost, and losing is normal: a doubled message, a second sweep, an operator who
was faster. The event that tells of a change is written in its transaction, so the rows and their
history never disagree.

Lock order, everywhere: the run first, then its steps. :func:`change` takes the run's lock, which
serialises the outcomes, turns and operators of one saga. A claim takes only its step's row; what
shuts it out of a run that turns back is the turn's own update of that row.

What takes a :class:`RunChange` first is written under that lock, and a step's state by ``move_step``
alone. The others are guarded by the row that they write.
"""

from sagas.engine.transitions.attempt import (
    NO_DETAILS,
    end_leases_of,
    mark_handler_missing,
    mark_sent,
    mark_unsent,
    postpone_send,
    record_heartbeat,
    renew_lease,
    send_again,
    send_soon,
    shorten_lease,
)
from sagas.engine.transitions.change import RunChange, change
from sagas.engine.transitions.claiming import claim
from sagas.engine.transitions.compensation import (
    cancel_unstarted,
    doubt_skipped,
    has_in_flight,
    insert_pending,
    insert_undo_chain,
    leave_out,
    mark_undone,
    release_holds,
)
from sagas.engine.transitions.insert import insert_runs
from sagas.engine.transitions.late import (
    doubt_late,
    heard_from,
    invalidate_earlier_undo_answer,
    keep_doubt,
    reconcile_again,
    succeed_late,
    undo_again,
)
from sagas.engine.transitions.lives import begin_new_lives, begin_rewind, give_up_rewind
from sagas.engine.transitions.living_leases import keep_input, keep_prepared, renew_leases
from sagas.engine.transitions.moves import ANY
from sagas.engine.transitions.operator import pause, reopen_step, settle, unpause
from sagas.engine.transitions.outcome import (
    UNANSWERED,
    end_attempt,
    expires_within,
    put_back,
    record_late_outcome,
    succeed,
)
from sagas.engine.transitions.plan import release_successors, reset, send_ready
from sagas.engine.transitions.run import (
    count_down,
    move_run,
    note_undo_failure,
    parent_told,
    pass_pivot,
    record_event,
    reopen_run,
    restart_count,
    set_warning,
    tag,
    update_warning,
)
from sagas.engine.transitions.run_time import later
from sagas.engine.transitions.sweeping import SweepTurns, Turn, max_sweep_gap
from sagas.engine.transitions.tracing import (
    event_row,
    follow,
    insert_events,
    places_in_trace,
    reaction_row,
)
from sagas.engine.transitions.unfinished import leave_unfinished
from sagas.engine.transitions.values import Claimant, InsertedRun, NewRun, Succession
from sagas.engine.transitions.waiting import (
    at_large,
    begin_wait,
    end_waits,
    keep_answer,
    keep_approval,
    remind,
    wait_on,
)


__all__ = [
    "ANY",
    "NO_DETAILS",
    "UNANSWERED",
    "Claimant",
    "InsertedRun",
    "NewRun",
    "RunChange",
    "Succession",
    "SweepTurns",
    "Turn",
    "at_large",
    "begin_new_lives",
    "begin_rewind",
    "begin_wait",
    "cancel_unstarted",
    "change",
    "claim",
    "count_down",
    "doubt_late",
    "doubt_skipped",
    "end_attempt",
    "end_leases_of",
    "end_waits",
    "event_row",
    "expires_within",
    "follow",
    "give_up_rewind",
    "has_in_flight",
    "heard_from",
    "insert_events",
    "insert_pending",
    "insert_runs",
    "insert_undo_chain",
    "invalidate_earlier_undo_answer",
    "keep_answer",
    "keep_approval",
    "keep_doubt",
    "keep_input",
    "keep_prepared",
    "later",
    "leave_out",
    "leave_unfinished",
    "mark_handler_missing",
    "mark_sent",
    "mark_undone",
    "mark_unsent",
    "max_sweep_gap",
    "move_run",
    "note_undo_failure",
    "parent_told",
    "pass_pivot",
    "pause",
    "places_in_trace",
    "postpone_send",
    "put_back",
    "reaction_row",
    "reconcile_again",
    "record_event",
    "record_heartbeat",
    "record_late_outcome",
    "release_holds",
    "release_successors",
    "remind",
    "renew_lease",
    "renew_leases",
    "reopen_run",
    "reopen_step",
    "reset",
    "restart_count",
    "send_again",
    "send_ready",
    "send_soon",
    "set_warning",
    "settle",
    "shorten_lease",
    "succeed",
    "succeed_late",
    "tag",
    "undo_again",
    "unpause",
    "update_warning",
    "wait_on",
]
