"""Each row of a sweep on its own: the trouble of one row is that row's, and stops nobody else's recovery.

A row that is locked, or that raises, is passed over for a while, and the rows behind it are reached.
What is known of them is in the memory of this process: another sweeper may be luckier.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from django.db import InterfaceError, InternalError, OperationalError

from sagas.engine.database import LockNotGranted, short_lock_waits
from sagas.models import SagaRun, StepRun


logger = logging.getLogger("sagas.recover")

LOCK_WAIT_SECONDS = 0.02
"""How long one row may keep a sweep waiting: as long as a short transaction of ours lasts, and longer."""

WAITING_SECONDS = 0.4
"""How long all of them may: what is left then is for the next round."""

FIRST_PAUSE = 1.0
"""Seconds for which a row is passed over at first; doubled each time, up to one of these:"""

LOCKED_PAUSE = 4.0
FAILED_PAUSE = 60.0

LOG_LOCKED_AFTER = 10.0
FORGET_AFTER = 600.0


RowT = TypeVar("RowT", SagaRun, StepRun)


@dataclass
class _Trouble:
    since: float
    until: float
    pause: float
    is_logged: bool = False


class OneByOne(Generic[RowT]):
    """Does ``what`` to rows, each in transactions of its own."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        """``what`` is logged with a row that is passed over: "giving up the attempt"."""
        self._what = what
        self._clock = clock
        self._troubles: dict[UUID, _Trouble] = {}

    def passed_over(self) -> list[UUID]:
        """Return the rows that a query for the next ones leaves out."""
        now = self._clock()
        old = [pk for pk, one in self._troubles.items() if one.until < now - FORGET_AFTER]
        for pk in old:
            del self._troubles[pk]
        return [pk for pk, one in self._troubles.items() if one.until > now]

    def each(self, rows: Iterable[RowT], act: Callable[[RowT], bool]) -> int:
        """Let ``act`` handle the rows; return for how many it says that it did something.

        Raises:
            django.db.Error: the connection is lost, which is nobody's own trouble.
        """
        done, waited = 0, 0.0
        for row in rows:
            began = self._clock()
            try:
                with short_lock_waits(LOCK_WAIT_SECONDS):
                    done += act(row)
            except LockNotGranted:
                waited += self._clock() - began
                self.locked(row)
                if waited > WAITING_SECONDS:
                    break
            except Exception as error:
                if is_about_connection(error):
                    raise
                self._failed(row, error)
            else:
                self._troubles.pop(row.pk, None)
        return done

    def locked(self, row: RowT) -> None:
        """Pass over a row for as long as it may be locked; logged once, when that has lasted."""
        trouble = self._put_off(row, LOCKED_PAUSE)
        lasted = self._clock() - trouble.since
        if not trouble.is_logged and lasted >= LOG_LOCKED_AFTER:
            trouble.is_logged = True
            text = "%s: %s has been locked for %.0f s by another transaction, and is passed over"
            facts = {"action": "row_locked"}
            logger.warning(text, self._what, _name(row), lasted, extra=facts)

    def _failed(self, row: RowT, error: Exception) -> None:
        trouble = self._put_off(row, FAILED_PAUSE)
        facts = {"action": "row_failed"}
        if not trouble.is_logged:
            trouble.is_logged = True
            text = "%s: %s failed, and is tried again at intervals; the others go on"
            logger.error(text, self._what, _name(row), exc_info=error, extra=facts)

    def _put_off(self, row: RowT, longest: float) -> _Trouble:
        now = self._clock()
        trouble = self._troubles.setdefault(row.pk, _Trouble(now, now, FIRST_PAUSE))
        trouble.until = now + trouble.pause
        trouble.pause = min(2 * trouble.pause, longest)
        return trouble


def _name(row: SagaRun | StepRun) -> str:
    return f"{row} of saga {row.run_id}" if isinstance(row, StepRun) else f"saga {row.pk} ({row})"


def is_about_connection(error: BaseException) -> bool:
    """Whether any other row would meet the same error now: the database is away, or takes no writes.

    Not a deadlock, a failed serialization or a cancelled query: those are about the rows they met.
    """
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError | InternalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state.startswith(("08", "57P", "25"))
