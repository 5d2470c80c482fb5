"""The protocol of one saga as a state machine that is searched to its last state.

A :mod:`~tests.faults.model.state` is a frozen value: the rows as the database would hold them, the
messages and workers there are, and what happened in the world outside. The
:mod:`~tests.faults.model.engine` changes it by the same guarded transitions as the package, and
asks the package's own :mod:`sagas.engine.decisions` what follows. :mod:`~tests.faults.model.actions` lists
everything that can happen next, faults included; :mod:`~tests.faults.model.explore` goes through
all of it, breadth first, and checks :mod:`~tests.faults.model.invariants` in every state.

A step that is claimed in place, in the transaction of the outcome before it, is a message that is
delivered at once; that is among the interleavings.

What an attempt does after it was given up is promised this much: reported, it is undone; never
reported (its process died between its effect and its report), nobody can know of it. The world
calls the latter a ``stray``.

A step that waits is left to an outside party, which decides once for its key, at any moment or
never, and says so any number of times, before the step waits, while it does, or when it is over. What
it says once it was decided that nobody waits any more is a late outcome. An answer names a step and
not a request; so one to a request for undoing is not heard when the next attempt has begun.
"""
