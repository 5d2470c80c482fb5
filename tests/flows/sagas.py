"""Sagas for real workers. What each handler does stands in the saga's input."""

import os
import signal
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sagas import PermanentError, Saga, Wait, child, step
from tests.flows import ledger, releases, remote  # noqa: F401 their sagas are of this app as well


@dataclass(frozen=True)
class Orders:
    """A file to tell, and what handlers do: ``"permanent"``, ``"network"``, ``"kill"``, ``"sleep=1"``.

    ``wait`` leaves the step to the test, ``call back`` with the address to answer at; ``after=right`` waits until the file says that ``right`` of
    the same saga began, or that the test said ``right`` (:func:`tests.flows.ledger.say`); ``hold`` until
    there is a file beside it whose name ends in ``.go``, which costs many handlers little. Several
    words are separated by commas; ``kill-once`` happens in the first attempt only.
    """

    ledger: str
    script: dict[str, str] = field(default_factory=dict)


class Flow(Saga[Orders]):
    """Base of the sagas of this app."""

    def act(self, name: str) -> str:
        """Tell, obey the script, tell again."""
        self.logger.info("%s begins", name)
        self.tell(name, "began")
        for word in filter(None, self.input.script.get(name, "").split(",")):
            self.obey(name, word)
        self.tell(name, "ended")
        return name

    def tell(self, name: str, phase: str) -> None:
        ledger.write(self.input.ledger, name, phase, self.idempotency_key, self.attempt)

    def obey(self, name: str, word: str) -> None:
        if word.endswith("-once"):
            if self.attempt > 1:
                return
            word = word.removesuffix("-once")
        if word == "hold" or word.startswith(("sleep=", "after=")):
            self.pass_time(word)
        elif word == "permanent":
            message = f"{name} refused"
            raise PermanentError(message, code="REFUSED")
        elif word == "network":
            message = f"{name} did not answer"
            raise ConnectionError(message)
        elif word == "wait":
            raise Wait
        elif word == "call back":
            ledger.give_out(self.input.ledger, name, self.answer_url())
            raise Wait("they call back", timeout=timedelta(minutes=10))
        elif word == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def pass_time(self, word: str) -> None:
        what, _, value = word.partition("=")
        if what == "sleep":
            time.sleep(float(value))
        elif what == "after":
            ledger.wait_for(self.input.ledger, value, of=self.run.id)
        else:
            while not Path(f"{self.input.ledger}.go").exists():
                time.sleep(0.05)


class Parallel(Flow):
    """start → {left ∥ right} → join."""

    class Meta:
        label = "flows.Parallel"
        step_defaults = {"max_retries": 1, "time_limit": 600}

    @step
    def start(self) -> str:
        return self.act("start")

    @start.compensation
    def undo_start(self, result: str | None) -> None:
        self.act(f"undo_start({result})")

    @step(after=[start])
    def left(self) -> str:
        return self.act("left")

    @left.compensation
    def undo_left(self, result: str | None) -> None:
        self.act(f"undo_left({result})")

    @step(after=[start])
    def right(self) -> str:
        return self.act("right")

    @right.compensation
    def undo_right(self, result: str | None) -> None:
        self.act(f"undo_right({result})")

    @step(after=[left, right])
    def join(self) -> str:
        return self.act("join")

    join.no_compensation("it is the last")


class Routed(Flow):
    """A step on the default queue, one on a queue of its own, and a compensation."""

    class Meta:
        label = "flows.Routed"

    @step
    def common(self) -> str:
        return self.act("common")

    @common.compensation
    def undo_common(self, result: str | None) -> None:
        self.act(f"undo_common({result})")

    @step(queue="slow-gateway")
    def gateway(self) -> str:
        return self.act("gateway")

    gateway.no_compensation("it is the last")


class Weeks(Flow):
    """begin → ask, which is tried again a day later."""

    class Meta:
        label = "flows.Weeks"
        long_running = True
        timeout = timedelta(days=30)

    @step
    def begin(self) -> str:
        return self.act("begin")

    @begin.compensation
    def undo_begin(self, result: str | None) -> None:
        self.act(f"undo_begin({result})")

    @step(retry_backoff=False, default_retry_delay=24 * 60 * 60, max_retries=20)
    def ask(self) -> str:
        return self.act("ask")

    ask.no_compensation("it is the last")


class Limited(Flow):
    """Two steps that one message carries, the second with a shorter time limit."""

    class Meta:
        label = "flows.Limited"

    @step(time_limit=60)
    def first(self) -> str:
        return self.act("first")

    first.no_compensation("only tells")

    @step(time_limit=2)
    def second(self) -> str:
        return self.act("second")

    second.no_compensation("only tells")


class Attentive(Flow):
    """The second step reads what the first one returned, and beats, before it does anything."""

    class Meta:
        label = "flows.Attentive"

    @step
    def first(self) -> str:
        return self.act("first")

    @first.compensation
    def undo_first(self, result: str | None) -> None:
        self.act(f"undo_first({result})")

    @step
    def second(self) -> str:
        self.heartbeat(self.first.result)
        return self.act("second")

    second.no_compensation("it is the last")


class SoftLimited(Flow):
    """One step with limits that are short, and a compensation."""

    class Meta:
        label = "flows.SoftLimited"

    @step(soft_time_limit=2, time_limit=4, max_retries=0)
    def work(self) -> str:
        return self.act("work")

    @work.compensation
    def undo_work(self, _: str | None) -> None:
        self.act("undo_work")


class Unlimited(Flow):
    """Two steps that one message could carry, without a soft limit of their own."""

    class Meta:
        label = "flows.Unlimited"

    @step(max_retries=0)
    def one(self) -> str:
        return self.act("one")

    one.no_compensation("only tells")

    @step(max_retries=0)
    def two(self) -> str:
        return self.act("two")

    two.no_compensation("only tells")


class Quick(Saga[None]):
    """Four steps that do nothing, two of them side by side."""

    class Meta:
        label = "flows.Quick"

    @step
    def first(self) -> None: ...

    first.no_compensation("does nothing")

    @step(after=[first])
    def left(self) -> None: ...

    left.no_compensation("does nothing")

    @step(after=[first])
    def right(self) -> None: ...

    right.no_compensation("does nothing")

    @step(after=[left, right])
    def last(self) -> None: ...

    last.no_compensation("does nothing")


class Pair(Flow):
    """one → two; both are undone."""

    class Meta:
        label = "flows.Pair"
        step_defaults = {"max_retries": 1, "time_limit": 600}

    @step
    def one(self) -> str:
        return self.act("one")

    @one.compensation
    def undo_one(self, result: str | None) -> None:
        self.act(f"undo_one({result})")

    @step
    def two(self) -> str:
        return self.act("two")

    @two.compensation
    def undo_two(self, result: str | None) -> None:
        self.act(f"undo_two({result})")


class Nest(Flow):
    """first → pair, which is a saga of its own → last."""

    class Meta:
        label = "flows.Nest"
        step_defaults = {"max_retries": 1, "time_limit": 600}

    @step
    def first(self) -> str:
        return self.act("first")

    @first.compensation
    def undo_first(self, result: str | None) -> None:
        self.act(f"undo_first({result})")

    @child(Pair)
    def pair(self) -> Orders:
        self.act("pair")
        return self.input

    @step
    def last(self) -> str:
        return self.act("last")

    last.no_compensation("the last")


if not os.environ.get("SAGAS_TEST_OLD_RELEASE"):

    class Deployed(Flow):
        """A saga that the release before did not have."""

        @step
        def work(self) -> str:
            return self.act("work")

        work.no_compensation("writes a line")
