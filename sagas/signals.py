"""Django signals of a saga's start and end, for code that does not belong to it.

::

    @receiver(saga_finished, sender=FulfilOrder)
    def tell_the_warehouse(sender, run, state, **kwargs): ...

``sender`` is the class of the saga, or None where this code does not have it; ``run`` its
:class:`~sagas.models.SagaRun`, read after the commit; ``state`` the :class:`~sagas.states.SagaState` that it
came to, because the row may have gone on since.

They are sent after the commit of the change, once for each, in the process that made it: a web process, a
worker, a shell. So connect receivers where every process does, as in ``AppConfig.ready()``. A receiver
that raises is logged, and changes nothing of the saga. When the process dies between the commit and
the receiver, or loses its connection as it commits, that signal is lost: what must not be missed is a step.
"""

from django.dispatch import Signal


saga_started = Signal()
"""The run and its steps are stored; not sent by a second call of ``start_saga()`` with the same key."""

saga_finished = Signal()
"""The run came to a final state: ``completed``, ``compensated``, ``cancelled`` or ``resolved``.

One that is reverted, or reopened by a late word, ends again, and is told of again.
"""
