"""What an operator can do to a run: the words for it. The doing is :mod:`sagas.operations`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from sagas import operations
from sagas.models import SagaRun, StepRun


if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class _Operation(Protocol):
    def __call__(self, run: SagaRun, /, *, reason: str, actor: str, **options: Any) -> SagaRun: ...


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One operator verb, as a page talks about it."""

    name: str
    title: "StrOrPromise"
    effect: "StrOrPromise"
    danger: "StrOrPromise" = ""
    permission: str = ""
    """The verb whose permission it takes; its own by default."""
    operation: str = ""
    """The function that does it; by default the one that is named like the verb."""
    options: Mapping[str, Any] = field(default_factory=dict)
    undoes: bool = False
    """Whether its page lists what would be undone."""
    without_result: "StrOrPromise" = ""
    """What it means that no result is typed in; nothing where none is asked for."""
    names_row: bool = False
    """Whether it says of a step that its compensation is meant; else that goes without saying."""

    def is_permitted(self, request: HttpRequest) -> bool:
        """Whether this user may do it to any run at all."""
        return request.user.has_perm(f"sagas.{self.permission or self.name}_sagarun")

    def is_allowed(self, run: SagaRun) -> bool:
        """Whether the run's state allows it."""
        return self.name in operations.allowed_actions(run)

    def perform(self, run: SagaRun, *, reason: str, actor: str, **details: Any) -> SagaRun:
        """Do it, to the step that ``details`` name if there are any. Raises a SagaError, such as ActionNotAllowed, that says why it cannot be done."""
        # Looked up when called, so that there is one place to replace a verb.
        operation: _Operation = getattr(operations, self.operation or f"{self.name}_saga")
        return operation(run, reason=reason, actor=actor, **self.options, **details)

    def name_of(self, step: StepRun) -> str:
        """Return what the operation calls the step."""
        return str(step) if self.names_row else step.name

    def done(self, count: int) -> str:
        """Say what was done."""
        return ngettext(
            "%(title)s: done for %(count)d saga.", "%(title)s: done for %(count)d sagas.", count
        ) % {"title": self.title, "count": count}


_CANNOT_BE_REDONE = _("What is undone cannot be redone: the work has to be started as a new saga.")
_NOT_VERIFIED = _(
    "This is not verified. Look at what the step does outside before you say how it ended."
)

RETRY = Verb(
    name="retry",
    title=_("Retry"),
    effect=_(
        "The saga goes on exactly where it stopped: the step or the compensation that failed is "
        "attempted again, with the same idempotency key. Work that is done is not repeated."
    ),
)
CANCEL = Verb(
    name="cancel",
    title=_("Cancel"),
    effect=_(
        "Nothing new starts. When the running steps have ended, everything that ran or may have "
        "run is undone, the latest first. The saga ends as cancelled."
    ),
    undoes=True,
    danger=_CANNOT_BE_REDONE,
)
COMPENSATE = Verb(
    name="compensate",
    title=_("Compensate"),
    effect=_(
        "The saga gives up its goal. Everything that ran or may have run is undone, the latest "
        "first. The saga ends as compensated."
    ),
    undoes=True,
    danger=_CANNOT_BE_REDONE,
)
RESOLVE = Verb(
    name="resolve",
    title=_("Resolve by hand"),
    effect=_(
        "The saga is closed as it stands. No step runs any more, forward or backward: you say that "
        "you have settled the rest yourself, and the reason says how."
    ),
    danger=_("This is final. The saga can never be retried or compensated afterwards."),
)

REVERT = Verb(
    name="revert",
    title=_("Revert"),
    effect=_(
        "The saga was completed, and that is taken back. Everything that ran is undone, the latest "
        "first. The saga ends as compensated."
    ),
    undoes=True,
    danger=_("Others may rely on what was completed. What is undone cannot be redone."),
    operation="compensate_saga",
    options={"revert_completed": True},
)
PAUSE = Verb(
    name="pause",
    title=_("Pause"),
    effect=_(
        "No step starts any more, forward or backward, until the saga is resumed. Steps that run "
        "now may end. The deadline stands still."
    ),
)
RESUME = Verb(
    name="resume",
    title=_("Resume"),
    effect=_("The saga goes on where it is, with as much time left as it had."),
    permission="pause",
)

RETRY_STEP = Verb(
    name="retry_step",
    title=_("Retry step"),
    effect=_(
        "The step is attempted again, with the same idempotency key. A saga that waits because of it "
        "goes on when it succeeds; one that went on without it does not wait."
    ),
    permission="retry",
    operation="retry_step",
)
SKIP_STEP = Verb(
    name="skip_step",
    title=_("Skip step"),
    effect=_(
        "The step does not run any more: you say how it ended, and the saga goes on from there. With "
        "a result it succeeded, and is undone if the saga turns back. Without one it is skipped, and "
        "never undone. Skipping a compensation says that you have undone its step by hand."
    ),
    danger=_NOT_VERIFIED,
    operation="skip_step",
    without_result=_("Leave empty to skip it without a result."),
)
COMPLETE_STEP = Verb(
    name="complete_step",
    title=_("Complete step"),
    effect=_(
        "You answer for the outside party: what the step waits for has happened. It succeeded, and "
        "the saga goes on from there. It is undone if the saga turns back."
    ),
    danger=_NOT_VERIFIED,
    permission="answer_step",
    operation="complete_step",
    without_result=_("Leave empty for null."),
    names_row=True,
)
FAIL_STEP = Verb(
    name="fail_step",
    title=_("Fail step"),
    effect=_(
        "You answer for the outside party: what the step waits for definitely did not happen. The "
        "step failed. It is neither tried again nor undone, and the saga turns back unless it can do "
        "without it. If a compensation fails, its saga waits for a human."
    ),
    danger=_NOT_VERIFIED,
    permission="answer_step",
    operation="fail_step",
    names_row=True,
)

STEP_VERBS = (COMPLETE_STEP, FAIL_STEP, RETRY_STEP, SKIP_STEP)
VERBS = (RETRY, RESUME, PAUSE, CANCEL, COMPENSATE, REVERT, RESOLVE)


def legal_verbs(run: SagaRun, request: HttpRequest) -> list[Verb]:
    """Return what this user can do to this run now."""
    permitted = _permitted(VERBS, request)
    return _among(permitted, operations.allowed_actions(run)) if permitted else []


def legal_step_verbs(
    run: SagaRun, steps: Sequence[StepRun], request: HttpRequest
) -> dict[str, list[Verb]]:
    """Return what this user can do to single steps of this run now, by the step's name."""
    permitted = _permitted(STEP_VERBS, request)
    allowed = operations.allowed_step_actions(run, steps) if permitted else {}
    return {name: _among(permitted, actions) for name, actions in allowed.items()}


def _permitted(verbs: Sequence[Verb], request: HttpRequest) -> list[Verb]:
    return [verb for verb in verbs if verb.is_permitted(request)]


def _among(verbs: Sequence[Verb], allowed: Collection[str]) -> list[Verb]:
    return [verb for verb in verbs if verb.name in allowed]
