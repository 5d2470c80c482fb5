"""What an operator can do to a run, in the words of a page. The doing is :mod:`sagas.operations`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from sagas.admin.forms import (
    ApprovalForm,
    FailureForm,
    OptionalResultForm,
    ReasonForm,
    ResultForm,
    RewindForm,
)
from sagas.models import SagaRun, StepRun
from sagas.operations import (
    answering,
    approving,
    dead_letters,
    pausing,
    rewinding,
    steps,
    turning_back,
)
from sagas.operations.addressing import rows_by_name
from sagas.operations.predicates import steps_of
from sagas.operations.verbs import RunVerb, StepVerb


if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


V = TypeVar("V", bound=RunVerb | StepVerb)


@dataclass(frozen=True, kw_only=True)
class VerbPage(Generic[V]):
    """How a page talks about a verb, and what it asks for."""

    verb: V
    title: "StrOrPromise"
    effect: "StrOrPromise"
    danger: "StrOrPromise" = ""
    form: type[ReasonForm] = ReasonForm

    @property
    def name(self) -> str:
        """The verb's name, which is part of the page's address."""
        return self.verb.name

    def is_permitted(self, request: HttpRequest, step: StepRun | None = None) -> bool:
        """Whether this user may do it to this step, or to any run at all."""
        needed = self.verb.permission
        if step is not None and isinstance(self.verb, StepVerb):
            needed = self.verb.permission_for(step)
        return request.user.has_perm(needed)

    def done(self, count: int) -> str:
        """Say what was done."""
        return ngettext(
            "%(title)s: done for %(count)d saga.", "%(title)s: done for %(count)d sagas.", count
        ) % {"title": self.title, "count": count}


_CANNOT_BE_REDONE = _("What is undone cannot be redone: the work has to be started as a new saga.")
_NOT_VERIFIED = _(
    "This is not verified. Look at what the step does outside before you say how it ended."
)

RETRY = VerbPage(
    verb=dead_letters.RETRY,
    title=_("Retry"),
    effect=_(
        "The saga goes on exactly where it stopped: the step or the compensation that failed is "
        "attempted again, with the same idempotency key. Work that is done is not repeated."
    ),
)
CANCEL = VerbPage(
    verb=turning_back.CANCEL,
    title=_("Cancel"),
    effect=_(
        "Nothing new starts. When the running steps have ended, everything that ran or may have "
        "run is undone, the latest first. The saga ends as cancelled."
    ),
    danger=_CANNOT_BE_REDONE,
)
COMPENSATE = VerbPage(
    verb=turning_back.COMPENSATE,
    title=_("Compensate"),
    effect=_(
        "The saga gives up its goal. Everything that ran or may have run is undone, the latest "
        "first. The saga ends as compensated."
    ),
    danger=_CANNOT_BE_REDONE,
)
RESOLVE = VerbPage(
    verb=dead_letters.RESOLVE,
    title=_("Resolve by hand"),
    effect=_(
        "The saga is closed as it stands. No step runs any more, forward or backward: you say that "
        "you have settled the rest yourself, and the reason says how."
    ),
    danger=_("This is final. The saga can never be retried or compensated afterwards."),
)

REVERT = VerbPage(
    verb=turning_back.REVERT,
    title=_("Revert"),
    effect=_(
        "The saga was completed, and that is taken back. Everything that ran is undone, the latest "
        "first. The saga ends as compensated."
    ),
    danger=_("Others may rely on what was completed. What is undone cannot be redone."),
)
PAUSE = VerbPage(
    verb=pausing.PAUSE,
    title=_("Pause"),
    effect=_(
        "No step starts any more, forward or backward, until the saga is resumed. Steps that run "
        "now may end. The deadline stands still."
    ),
)
RESUME = VerbPage(
    verb=pausing.RESUME,
    title=_("Resume"),
    effect=_("The saga goes on where it is, with as much time left as it had."),
)

RETRY_STEP = VerbPage(
    verb=steps.RETRY_STEP,
    title=_("Retry step"),
    effect=_(
        "The step is attempted again, with the same idempotency key. A saga that waits because of it "
        "goes on when it succeeds; one that went on without it does not wait."
    ),
)
SKIP_STEP = VerbPage(
    verb=steps.SKIP_STEP,
    title=_("Skip step"),
    effect=_(
        "The step does not run any more: you say how it ended, and the saga goes on from there. With "
        "a result it succeeded, and is undone if the saga turns back. Without one it is skipped, and "
        "never undone. Skipping a compensation says that you have undone its step by hand."
    ),
    danger=_NOT_VERIFIED,
    form=OptionalResultForm,
)
COMPLETE_STEP = VerbPage(
    verb=answering.COMPLETE_STEP,
    title=_("Complete step"),
    effect=_(
        "You answer for the outside party: what the step waits for has happened. It succeeded, and "
        "the saga goes on from there. It is undone if the saga turns back."
    ),
    danger=_NOT_VERIFIED,
    form=ResultForm,
)
FAIL_STEP = VerbPage(
    verb=answering.FAIL_STEP,
    title=_("Fail step"),
    effect=_(
        "You answer for the outside party: what the step waits for definitely did not happen. The "
        "step failed. It is neither tried again nor undone, and the saga turns back unless it can do "
        "without it. If a compensation fails, its saga waits for a human."
    ),
    danger=_NOT_VERIFIED,
    form=FailureForm,
)

REWIND = VerbPage(
    verb=rewinding.REWIND,
    title=_("Rewind to this step"),
    effect=_(
        "This step and everything that depends on it is undone, the latest first. Then these steps "
        "run anew, with fresh idempotency keys and with the corrected input, if you give one. What "
        "does not depend on it stands. If something cannot be undone, the saga waits for a human."
    ),
    form=RewindForm,
)

APPROVE_STEP = VerbPage(
    verb=approving.APPROVE_STEP,
    title=_("Approve"),
    effect=_(
        "You approve what the step asks for, in your name. Where two people are needed, the saga "
        "goes on when the second has approved the same."
    ),
    form=ApprovalForm,
)
REJECT_STEP = VerbPage(
    verb=approving.REJECT_STEP,
    title=_("Reject"),
    effect=_(
        "You reject what the step asks for, in your name. The step failed, and the saga turns back "
        "unless it can do without it."
    ),
)

STEP_PAGES: Sequence[VerbPage[StepVerb]] = (
    APPROVE_STEP,
    REJECT_STEP,
    COMPLETE_STEP,
    FAIL_STEP,
    RETRY_STEP,
    REWIND,
    SKIP_STEP,
)
RUN_PAGES: Sequence[VerbPage[RunVerb]] = (
    RETRY,
    RESUME,
    PAUSE,
    CANCEL,
    COMPENSATE,
    REVERT,
    RESOLVE,
)


def is_allowed(page: VerbPage[RunVerb], run: SagaRun) -> bool:
    """Whether the run's state allows it."""
    return page.verb.is_offered(run, steps_of(run))


def legal_pages(run: SagaRun, request: HttpRequest) -> list[VerbPage[RunVerb]]:
    """Return what this user can do to this run now."""
    rows = steps_of(run)
    return [
        page for page in RUN_PAGES if page.is_permitted(request) and page.verb.is_offered(run, rows)
    ]


def legal_step_pages(
    run: SagaRun, rows: Sequence[StepRun], request: HttpRequest
) -> dict[UUID, list[VerbPage[StepVerb]]]:
    """Return what this user can do to single steps of this run now, by the id of the row.

    ``rows`` are all steps of the run. Of a step and its compensation, one is offered: the one that
    the step's name means.
    """
    return {
        row.pk: [
            page
            for page in STEP_PAGES
            if page.is_permitted(request, row) and page.verb.is_offered(run, rows, row)
        ]
        for row in rows_by_name(run, rows).values()
    }
