"""The list: progress of each run by subquery, and counting that stops early."""

from typing import TYPE_CHECKING, Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import CharField, Count, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Concat, Left
from django.http import HttpRequest
from django.utils.functional import cached_property

from sagas.models import SagaRun, StepRun
from sagas.states import DONE_OR_UNDONE, OPEN_STEPS, Direction
from sagas.texts import is_storable


if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

ERROR_SHOWN = 80

_HEAVY_COLUMNS = ("input", "tags", "options", "error", "compensation_error")


class SagaRunChangeList(ChangeList):
    """A change list that also says how far each run has come."""

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        """Return the rows of the list, without their JSON."""
        # What is searched for was looked at by Django's form.
        filters = (texts for name, texts in self.filter_params.items() if name != SEARCH_VAR)
        if not all(is_storable(text) for texts in filters for text in texts):
            raise IncorrectLookupParameters
        runs = super().get_queryset(request, *args, **kwargs)
        return with_progress(runs).defer(*_HEAVY_COLUMNS)


class CappedPaginator(_Paginator):
    """Counts no further than ``count_cap``, plus one that says there is more."""

    count_cap = 10_000

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most one above the cap."""
        runs: QuerySet[SagaRun] = self.object_list  # type: ignore[assignment]  # the admin's
        return runs.order_by().values("pk")[: self.count_cap + 1].count()


def with_progress(runs: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate ``steps_total``, ``steps_done``, ``open_step`` and ``error_start``."""
    steps = StepRun.objects.filter(run=OuterRef("pk"))
    forward = steps.filter(direction=Direction.FORWARD).order_by().values("run")
    total = forward.annotate(total=Count("pk")).values("total")
    done = forward.filter(state__in=DONE_OR_UNDONE).annotate(done=Count("pk")).values("done")
    undo = steps.filter(direction=Direction.BACKWARD, state__in=OPEN_STEPS).order_by("position")
    going = steps.filter(direction=Direction.FORWARD, state__in=OPEN_STEPS).order_by("position")
    undoing_of = undo.annotate(
        title=Concat(Value("undo of "), "name", output_field=CharField())
    ).values("title")[:1]
    annotated: QuerySet[Any] = runs.annotate(
        steps_total=Coalesce(Subquery(total), 0),
        steps_done=Coalesce(Subquery(done), 0),
        open_step=Coalesce(Subquery(undoing_of), Subquery(going.values("name")[:1]), Value("")),
        error_start=Left("error", ERROR_SHOWN + 1),
    )
    return annotated


def progress(run: Any) -> str:
    """Say how many steps are done and where the run stands: ``3/5 process_payment``."""
    where = run.open_step or run.failed_step
    return f"{run.steps_done}/{run.steps_total} {where}".rstrip()


def first_error(run: Any) -> str:
    """Return the start of the error, marked when there is more."""
    start: str = run.error_start
    return start if len(start) <= ERROR_SHOWN else f"{start[:ERROR_SHOWN]}…"
