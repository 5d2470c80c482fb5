"""Place an order, watch it, list the latest."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from examples.shop.forms import OrderForm
from examples.shop.models import Order
from examples.shop.orders import place_order
from examples.shop.status import status_of
from sagas.models import SagaRun


LATEST = 50


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def place(request: HttpRequest) -> HttpResponse:
    """Show the order form; on POST place the order and go to its page."""
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        placed = place_order(form.wish())
        if placed.run_id is None:
            # An old form, sent again after its saga was purged.
            return redirect("shop:latest")
        return redirect("shop:order", run_id=placed.run_id)
    refused = request.method == "POST"
    return render(request, "shop/place.html", {"form": form}, status=422 if refused else 200)


@require_safe
def latest(request: HttpRequest) -> HttpResponse:
    """List the latest orders and what became of them."""
    orders = Order.objects.select_related("run").defer("run__input", "run__options")[:LATEST]
    return render(request, "shop/latest.html", {"orders": orders})


@never_cache
@require_safe
def order(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Show one order, step by step."""
    run = get_object_or_404(_runs_of_orders(), pk=run_id)
    return render(request, "shop/order.html", {"order": run.shop_order, "status": status_of(run)})


@require_POST
def mend(_request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Remove the cause of the staged failure, so that the next attempt finds all well."""
    placed = get_object_or_404(Order, run_id=run_id)
    Order.objects.filter(pk=placed.pk).update(is_mended=True)
    return redirect("shop:order", run_id=run_id)


@never_cache
@require_safe
def status(_request: HttpRequest, run_id: str) -> JsonResponse:
    """Tell where the saga of an order stands."""
    try:
        run = _runs_of_orders().get(pk=UUID(run_id))
    except (ValueError, SagaRun.DoesNotExist):
        return JsonResponse({"error": "no such order"}, status=404)
    return JsonResponse(status_of(run))


def _runs_of_orders() -> QuerySet[SagaRun]:
    return SagaRun.objects.filter(shop_order__isnull=False).select_related("shop_order")
