"""The engine. Private: no promise is made for what is in here.

The life of a saga, module by module::

    start          validates the input, plans the rows and commits them with the caller
    dispatch       a ready row becomes a Celery message: two ids and a fence, after the commit
    execute        a worker claims the row, calls the handler and hands over the outcome
    advance        the outcome makes the next step ready, ends the saga, or turns it back
    compensate     turning back: what ran is undone, in reverse
    recover        what no message told: lost ones, dead workers, deadlines

Three rooms serve them: :mod:`~sagas.engine.decisions` is pure, :mod:`~sagas.engine.transitions` is
the only writer of state, and :mod:`~sagas.engine.database` knows what a lost connection looks like.

What takes a ``change`` is called under the lock of its run: to have one is to hold it.
"""
