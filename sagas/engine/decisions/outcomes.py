"""What came of an attempt: values that say themselves what they mean for the step and its row."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sagas.choreography import PublishedEvent
from sagas.states import StepState, WaitKind


class Outcome:
    """What came of an attempt. Whoever decides or writes asks it, and not which class it is."""

    published: tuple[PublishedEvent, ...] = ()
    """The events that come with it."""

    @property
    def ends_as(self) -> StepState | None:
        """The end of a step of which nothing is in doubt, and nothing left to try; else None."""
        return None

    @property
    def failure(self) -> "Failed | None":
        """The failure, if it is one."""
        return None

    @property
    def leaves_doubt(self) -> bool:
        """Whether an attempt that says this may have had an effect."""
        return False

    @property
    def leaves_at_large(self) -> bool:
        """Whether somebody may act still: the attempt, which did not say this, or whom it asked."""
        return False

    @property
    def yields_to_answer(self) -> bool:
        """Whether what an outside party said meanwhile knows more."""
        return True

    @property
    def word(self) -> str:
        """One word or code for logs and task results."""
        return type(self).__name__.lower()

    def describe(self) -> str:
        """Say it as the note of an event does; of any length."""
        return self.word

    def columns(self) -> dict[str, Any]:
        """Return what it leaves in the step's row."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Succeeded(Outcome):
    """The handler returned; ``output`` is its result as JSON."""

    output: object
    published: tuple[PublishedEvent, ...] = ()

    @property
    def ends_as(self) -> StepState:
        """It happened."""
        return StepState.SUCCEEDED

    @property
    def yields_to_answer(self) -> bool:
        """It does not: the attempt knows its own success."""
        return False

    def columns(self) -> dict[str, Any]:
        """Return the result; the errors of earlier attempts are of no more interest."""
        return {"output": self.output, "error_code": "", "error": ""}

    def as_answer(self) -> dict[str, Any]:
        """Return what a row keeps of it, if an outside party says it while the step runs."""
        return {"output": self.output}


@dataclass(frozen=True, kw_only=True)
class Skipped(Outcome):
    """The step's condition said no; it is asked before the first handler begins."""

    @property
    def ends_as(self) -> StepState:
        """Nothing can have happened."""
        return StepState.SKIPPED

    @property
    def yields_to_answer(self) -> bool:
        """It does not: nobody was asked."""
        return False


@dataclass(frozen=True, kw_only=True)
class Failed(Outcome):
    """The attempt ended otherwise.

    ``in_doubt``: the effect may have happened. ``retryable``: another attempt may help.
    ``skip_backoff``: without backoff, because noticing the failure took long enough. ``definite``: said
    by someone who knows that it did not happen, whatever was in doubt before. ``given_up``: not said by
    the attempt, which may be alive, and act.
    """

    code: str
    error: str
    retryable: bool = False
    in_doubt: bool = False
    skip_backoff: bool = False
    definite: bool = False
    given_up: bool = False
    published: tuple[PublishedEvent, ...] = ()

    @property
    def ends_as(self) -> StepState | None:
        """It did not happen, if that is definite."""
        return StepState.FAILED if self.definite else None

    @property
    def failure(self) -> "Failed":
        """Itself."""
        return self

    @property
    def leaves_doubt(self) -> bool:
        """Whether the effect may have happened."""
        return self.in_doubt

    @property
    def leaves_at_large(self) -> bool:
        """Whether the attempt was given up."""
        return self.given_up

    @property
    def yields_to_answer(self) -> bool:
        """Whether it is not an answer itself."""
        return not self.definite

    @property
    def word(self) -> str:
        """Its code."""
        return self.code

    def describe(self) -> str:
        """Say the code and the error."""
        return f"{self.code}: {self.error}"

    def columns(self) -> dict[str, Any]:
        """Return the error; of an answer also that it is one, so that no other is taken."""
        answer = {"answer": self.as_answer()} if self.definite else {}
        return {"error_code": self.code, "error": self.error, **answer}

    def as_answer(self) -> dict[str, Any]:
        """Return what a row keeps of it, if an outside party says it."""
        return {"code": self.code, "error": self.error}


@dataclass(frozen=True, kw_only=True)
class Reported(Failed):
    """A failure of a remote task, as a message brings it: the word about one request.

    The task may have been delivered twice, so that a success can still come after it. An attempt that
    was not there to hear it keeps it as an answer.
    """

    @property
    def yields_to_answer(self) -> bool:
        """It is what was answered."""
        return False

    def columns(self) -> dict[str, Any]:
        """Return the error; no answer of before stands in the way of the next attempt's."""
        return {"error_code": self.code, "error": self.error, "answer": None}

    def as_answer(self) -> dict[str, Any]:
        """Return what a row keeps of it until the attempt ends."""
        return {"reported": asdict(self)}


@dataclass(frozen=True, kw_only=True)
class DidNotHappen(Outcome):
    """The outside system was asked, and says that it did not happen."""

    @property
    def ends_as(self) -> StepState:
        """It did not happen; the error from before the question stays."""
        return StepState.FAILED

    @property
    def word(self) -> str:
        """What was said."""
        return "did not happen"

    def describe(self) -> str:
        """Say it in a sentence."""
        return "it did not happen"


@dataclass(frozen=True, kw_only=True)
class Waiting(Outcome):
    """The handler leaves the step to an outside party, for ``timeout`` at most; ``note`` says to whom."""

    timeout: timedelta | None = None
    note: str = ""
    kind: WaitKind = WaitKind.OUTSIDE
    remind_after: timedelta | None = None

    @property
    def leaves_doubt(self) -> bool:
        """The outside party may have acted."""
        return True

    @property
    def leaves_at_large(self) -> bool:
        """The outside party may act, where nobody waits for it any more."""
        return True

    def describe(self) -> str:
        """Say for whom it waits."""
        return self.note

    def as_wait(self) -> dict[str, Any]:
        """Return what a row keeps of it while the step waits."""
        return {"kind": self.kind, "note": self.note}

    def columns(self) -> dict[str, Any]:
        """Return what it leaves in a step that waits no more, or does not begin to."""
        error = "the wait was abandoned because the saga turned back"
        return {"error_code": "WAIT_GIVEN_UP", "error": error}


@dataclass(frozen=True, kw_only=True)
class WaitingForTask(Waiting):
    """The handler has sent a task of another code base.

    ``was_in_doubt``: an earlier attempt left a doubt. While a step waits it is in doubt anyway, and a
    task speaks of its own request alone.
    """

    kind: WaitKind = WaitKind.REMOTE
    was_in_doubt: bool = False

    def as_wait(self) -> dict[str, Any]:
        """Return what a row keeps of it while the step waits."""
        return {**super().as_wait(), "in_doubt": self.was_in_doubt}


@dataclass(frozen=True, kw_only=True)
class WaitingForChild(Waiting):
    """The step is a saga of its own: that is started or turned back as the wait begins, or not at all."""

    kind: WaitKind = WaitKind.CHILD

    child: Any = None
    """The plan of the run to start and what that has of its own; None: a child is turned back."""

    awaited: bool = True
    """Whether the step ends with the child, or as soon as it is started."""

    @property
    def leaves_doubt(self) -> bool:
        """Nothing has happened before the wait begins."""
        return False

    @property
    def leaves_at_large(self) -> bool:
        """A child is known."""
        return False

    def columns(self) -> dict[str, Any]:
        """Return what it leaves in a step whose wait does not begin."""
        return {"error_code": "NOT_STARTED", "error": "no child was started: the saga turned back"}


def from_answer(answer: Mapping[str, Any]) -> Succeeded | Failed:
    """Return the outcome that a row keeps as an answer."""
    if "output" in answer:
        return Succeeded(output=answer["output"])
    if "reported" in answer:
        return Reported(**answer["reported"])
    return Failed(code=answer["code"], error=answer["error"], definite=True)


def with_attempt_count(failure: Failed, attempts: int) -> Failed:
    """Return a failure that is not tried again, and says so if it was: "failed after 3 attempts: …"."""
    if attempts == 1 or not failure.retryable:
        return failure
    return replace(failure, error=f"failed after {attempts} attempts: {failure.error}")


def fingerprint(label: str, step: str, code: str, error: str) -> str:
    """Return what equal failures share: numbers, ids and attempts do not tell them apart."""
    cause = re.sub(r"failed after \d+ attempts: ", "", error.lower())
    cause = re.sub(r"[0-9a-f-]{8,}|\d+", "#", cause)
    return sha256(f"{label}\n{step}\n{code}\n{cause}".encode()).hexdigest()[:16]
