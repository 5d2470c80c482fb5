"""The demo itself: place orders, kill the worker, start another, wait, and prove the result."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db.models import Count, F
from django.db.models.functions import Now

from examples.shop.order_input import SLOW_SECONDS, FailHow
from examples.shop.orders import place_order
from examples.shop.processes import Child, start_worker
from examples.shop.programme import programme
from examples.shop.report import Expected, print_report
from sagas.conf import saga_settings
from sagas.models import SagaRun, StepRun
from sagas.states import ACTIVE_SAGAS, StepState


PLACED_BEFORE_THE_KILL = 25
ENDED_BEFORE_THE_KILL = 10
PATIENCE_SECONDS = 200.0


class Show:
    """What the demo knows while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self.expected: Expected = {}
        self.worker: Child | None = None
        self._on_terminal = sys.stdout.isatty()
        self._shown = ""
        self._shown_at = 0.0

    def say(self, text: str) -> None:
        erase = "\r\x1b[K" if self._on_terminal else ""
        print(f"{erase}{time.monotonic() - self.began:5.1f} s  {text}", flush=True)

    def place(self, first: int, last: int) -> None:
        for planned in programme()[first:last]:
            order = place_order(planned.wish)
            if order.run_id is None:
                raise RuntimeError(f"{order} has no saga")
            self.expected[order.run_id] = planned.outcome_when_undone

    def hire(self, name: str) -> None:
        self.worker = start_worker(name, self.folder)

    def wait(self, until: Callable[[Counter[str]], bool]) -> bool:
        """Show progress until it holds; False when patience or the worker ended before."""
        while True:
            states = self.states()
            self._show_progress(states)
            if until(states):
                return True
            if self.worker is None or not self.worker.alive:
                self.say("The worker ended by itself.")
                return False
            if time.monotonic() - self.began > PATIENCE_SECONDS:
                self.say(f"Not done after {PATIENCE_SECONDS:.0f} s.")
                return False
            time.sleep(0.1)

    def runs(self) -> list[SagaRun]:
        return list(SagaRun.objects.filter(pk__in=self.expected).order_by("id"))

    def states(self) -> Counter[str]:
        rows = SagaRun.objects.filter(pk__in=self.expected).order_by()
        return Counter(dict(rows.values_list("state").annotate(Count("id"))))

    def running_steps(self) -> list[StepRun]:
        steps = StepRun.objects.filter(run__in=self.expected, state=StepState.RUNNING)
        return list(steps.select_related("run"))

    def can_be_hit(self) -> bool:
        """Whether a step runs that will not have ended when the signal arrives."""
        slow = StepRun.objects.filter(
            run__in=self.expected,
            run__shop_order__fail_how=FailHow.SLOW,
            name=F("run__shop_order__fail_at"),
            state=StepState.RUNNING,
            started_at__gte=Now() - timedelta(seconds=SLOW_SECONDS / 2),
        )
        return slow.exists()

    def _show_progress(self, states: Counter[str]) -> None:
        text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        passed = time.monotonic() - self.began
        if self._on_terminal:
            print(f"\r\x1b[K{passed:5.1f} s  {text}", end="", flush=True)
        elif text != self._shown and passed - self._shown_at >= 1:
            self._shown, self._shown_at = text, passed
            self.say(text)


def run_show(folder: Path) -> int:
    """Run the demo and return the exit status."""
    show = Show(folder)
    call_command("migrate", verbosity=0)
    show.say(
        f"Database: {settings.DATABASES['default']['ENGINE'].rpartition('.')[2]}; "
        f"broker: {settings.CELERY_BROKER_URL.partition(':')[0]}; logs in {folder}."
    )
    try:
        finished = _perform(show)
        if not finished and show.worker is not None:
            print(show.worker.last_words())
        return print_report(show.runs(), show.expected) or int(not finished)
    finally:
        if show.worker is not None:
            show.worker.kill()


def _perform(show: Show) -> bool:
    show.hire("worker1")
    show.place(0, PLACED_BEFORE_THE_KILL)
    show.say(f"{PLACED_BEFORE_THE_KILL} orders placed; a worker with two processes begins.")
    if not show.wait(lambda states: _is_mid_way(show, states)):
        return False
    _kill(show)
    show.place(PLACED_BEFORE_THE_KILL, len(programme()))
    show.say("The rest of the orders placed, while there is no worker at all.")
    show.hire("worker2")
    lease = saga_settings().LEASE_SECONDS
    show.say(
        "A new worker begins. What the dead one held comes back when its leases run out,"
        f" {lease:.0f} s after they were last renewed."
    )
    return show.wait(lambda states: not any(states[state] for state in ACTIVE_SAGAS))


def _is_mid_way(show: Show, states: Counter[str]) -> bool:
    ended = sum(count for state, count in states.items() if state not in ACTIVE_SAGAS)
    nearly_too_late = ended >= PLACED_BEFORE_THE_KILL - 2
    return (ended >= ENDED_BEFORE_THE_KILL and show.can_be_hit()) or nearly_too_late


def _kill(show: Show) -> None:
    if show.worker is not None:
        show.worker.kill()
    held = ", ".join(f"{step} of {step.run.key}" for step in show.running_steps())
    show.say(f"SIGKILL to the whole worker. It was running: {held or 'nothing, by chance'}.")
