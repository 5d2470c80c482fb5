"""Runs cases of the crash matrix side by side on one fleet, and tells how each ended."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from celery import current_app
from django.db import transaction

from sagas import start_saga
from sagas.conf import saga_settings
from sagas.engine.dispatch import STEP_SUCCEEDED
from sagas.exceptions import WorkerLost
from sagas.models import SagaRun
from sagas.states import FINAL_SAGAS, EventType, SagaState
from tests.faults.cases import Case
from tests.faults.crashes.blows import wake
from tests.faults.crashes.points import Boundary, lives_on, struck, who_was_struck
from tests.faults.fleet import Fleet
from tests.faults.human import decide, is_left_to_one
from tests.faults.outside import OutsideParty
from tests.faults.verdict import violations


BOUND_SECONDS = 120.0
"""Against hanging. How long each took stands in the table."""

MISSED_SECONDS = 15.0
"""A saga that ended and was not hit for so long never will be: a neighbour's fault took the message
by which it would have reached the boundary. A callback is a hint and may be lost. So again."""

TRIES = 5
IN_FLIGHT = 12
ASLEEP_AT_ONCE = 2
"""Of the fleet's workers: the others do the work of those that sleep."""

SUCCESS_DOORS = frozenset({Boundary.BEFORE_SUCCESS_DOOR, Boundary.AFTER_SUCCESS_DOOR})


@dataclass(kw_only=True)
class Ending:
    """How the saga of one case ended. Its ``violations`` are what must not have been."""

    case: Case
    run: SagaRun
    book: str
    tries: int = 1
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """Whether nobody is to do anything any more, or a human whom there is not."""
        stuck = self.run.state == SagaState.DEAD_LETTER and not is_left_to_one(self.run)
        return stuck or self.run.state in FINAL_SAGAS

    @property
    def outcome(self) -> str:
        """The state in one word, or that a rule was broken."""
        return "WRONG" if self.violations else str(self.run.state)

    def was_missed(self, folder: Path) -> bool:
        """Whether it ended some time ago and was not hit, or died of a neighbour's fault."""
        if not self.is_settled:
            return False
        if struck(folder, self.run.pk):
            owes = self.case.is_slow and _owes_an_outcome(self)
            return owes and not lives_on(folder, self.run.pk)
        return time.monotonic() - self.began - self.seconds > MISSED_SECONDS


def run_cases(
    cases: Sequence[Case], fleet: Fleet, folder: Path, tell: Callable[[int, Ending], None]
) -> dict[Case, Ending]:
    """Start a saga for each case, a few at a time; judge all of them when the last has ended."""
    waiting = list(cases)
    open_: list[Ending] = []
    ended: dict[Case, Ending] = {}
    missed: list[Ending] = []
    outside = OutsideParty()
    while waiting or open_:
        while (case := _next(waiting, open_)) is not None:
            waiting.remove(case)
            open_.append(_start(case, folder))
        fleet.keep_alive()
        outside.answer(ending.run for ending in open_)
        for ending in open_:
            decide(ending.run, ending.book)
        time.sleep(0.1)
        for ending in [ending for ending in open_ if _has_ended(ending, folder)]:
            open_.remove(ending)
            if ending.was_missed(folder) and ending.tries < TRIES:
                missed.append(ending)
                open_.append(_start(ending.case, folder, tries=ending.tries + 1))
            else:
                ended[ending.case] = ending
                tell(len(ended), ending)
    # What happens after its end counts as well.
    for ending in ended.values():
        _judge(ending, folder)
    for ending in missed:
        ended[ending.case].violations += _broken(ending)
    return ended


def _start(case: Case, folder: Path, *, tries: int = 1) -> Ending:
    name = f"{case}, {tries}"
    book = str(folder / f"{name}.jsonl")
    with transaction.atomic():
        run = start_saga(case.target.saga, case.target.script(book), key=name)
        case.plan.write(folder, run.pk)
    if case.boundary in SUCCESS_DOORS:
        step = run.steps.get(name=case.target.step)
        queue = saga_settings().COORDINATOR_QUEUE
        current_app.send_task(STEP_SUCCEEDED, args=(str(step.pk), step.fence), queue=queue)
    return Ending(case=case, run=run, book=book, tries=tries)


def _next(waiting: Sequence[Case], open_: Sequence[Ending]) -> Case | None:
    """Return the next case to start, if there is room for it."""
    asleep = sum(ending.case.is_slow for ending in open_)
    room = (case for case in waiting if not case.is_slow or asleep < ASLEEP_AT_ONCE)
    return next(room, None) if len(open_) < IN_FLIGHT else None


def _has_ended(ending: Ending, folder: Path) -> bool:
    """Whether its saga has, and was hit: an error callback may come when all is over."""
    # Asked before the state is read: a late report and what it changes are one transaction.
    told = not (ending.case.is_slow and _owes_an_outcome(ending))
    was_settled = ending.is_settled
    if not was_settled or ending.case.is_slow:
        ending.run.refresh_from_db(fields=["state"])
    settled = ending.is_settled
    if not (was_settled and settled):
        ending.seconds = time.monotonic() - ending.began
    hit = struck(folder, ending.run.pk)
    if hit and settled and ending.case.sleeps:
        wake(who_was_struck(folder, ending.run.pk), ending.case.fault)
    over = time.monotonic() - ending.began > BOUND_SECONDS
    return (settled and hit and told) or ending.was_missed(folder) or over


def _owes_an_outcome(ending: Ending) -> bool:
    """Whether an attempt was given up, and its process has not reported yet."""
    given_up = ending.run.events.filter(note__startswith=WorkerLost.code).exists()
    told = ending.run.events.filter(type=EventType.STEP_LATE).exists()
    return not told and (given_up or ending.case.ends_late)


def _judge(ending: Ending, folder: Path) -> None:
    ending.violations = _broken(ending)
    if not struck(folder, ending.run.pk):
        ending.violations.append("the fault never struck")
    if ending.case.is_slow and _owes_an_outcome(ending):
        ending.violations.append("the attempt that was hit never reported")
    if ending.seconds > BOUND_SECONDS:
        ending.violations.append(f"it took more than {BOUND_SECONDS:g} s")


def _broken(ending: Ending) -> list[str]:
    ending.run.refresh_from_db()
    # On a loaded machine a living process can be given up too.
    late = ending.case.is_slow or ending.run.events.filter(type=EventType.STEP_LATE).exists()
    return violations(ending.run, ending.book, ending.case.target.ends, late=late)
