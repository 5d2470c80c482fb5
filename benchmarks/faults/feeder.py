"""Starts sagas as a web process does, never more at a time than the workers can chew."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from django.db import DatabaseError, connections

from benchmarks.faults.wishes import Wish


@dataclass(kw_only=True)
class Feeder:
    """A thread with a database connection of its own, which the faults cut as well."""

    wishes: Sequence[Wish]
    at_a_time: int
    started: int = 0
    retried: int = 0
    """Calls of ``start_saga`` that failed with the database and were made again, with the same key."""
    stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start feeding."""
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop feeding, whether all was fed or not."""
        self.stop.set()
        if self._thread is not None:
            self._thread.join(30)

    @property
    def done(self) -> bool:
        """Whether every saga was started."""
        return self.started == len(self.wishes)

    def _run(self) -> None:
        while not self.stop.wait(0.2) and not self.done:
            with suppress(DatabaseError):
                self._top_up()
            for connection in connections.all():
                connection.close_if_unusable_or_obsolete()
        connections.close_all()

    def _top_up(self) -> None:
        from sagas.models import SagaRun  # noqa: PLC0415 Django is set up by now, not before

        room = self.at_a_time - SagaRun.objects.active().count()
        for wish in self.wishes[self.started : self.started + max(room, 0)]:
            if self._start(wish):
                self.started += 1

    def _start(self, wish: Wish) -> bool:
        from benchmarks.faults.sagas import FiveSteps  # noqa: PLC0415
        from sagas import start_saga  # noqa: PLC0415

        while not self.stop.is_set():
            try:
                start_saga(FiveSteps, wish)
            except DatabaseError:
                self.retried += 1
                connections.close_all()
                time.sleep(0.05)
            else:
                return True
        return False
