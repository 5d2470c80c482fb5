"""Do the books and the stock agree with what the sagas say became of the orders?

The answer is computed from the tables of the other companies and from our ledger; of the saga
tables only the outcome and the input are believed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from django.db.models import F, IntegerField, OuterRef, Subquery, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce

from examples.shop.catalogue import HOME_COUNTRY
from examples.shop.models import Effect, Ledger, StockItem
from examples.shop.order_input import OrderInput
from examples.shop.sagas import FulfilOrder
from examples.shop.services.inventory import RESERVE
from examples.shop.services.notifications import CONFIRM
from examples.shop.services.payments import CHARGE
from examples.shop.services.shipping import PAPERS, SHIP
from sagas.models import SagaRun
from sagas.states import SagaState


@dataclass
class Facts:
    """What really happened for one order."""

    order: OrderInput
    effects: dict[str, list[Effect]] = field(default_factory=lambda: defaultdict(list))
    bookings: list[Ledger] = field(default_factory=list)

    def happened(self, action: str) -> list[Effect]:
        return [effect for effect in self.effects[action] if effect.at is not None]

    def standing(self, action: str) -> list[Effect]:
        return [effect for effect in self.effects[action] if effect.stands]

    @property
    def earned(self) -> Decimal:
        return sum((booking.amount for booking in self.bookings), Decimal(0))

    @property
    def undone_at(self) -> list[datetime]:
        """When each undoable step was undone, in the order of the steps."""
        reversals = [booking.at for booking in self.bookings if booking.amount < 0]
        effects = [*self.effects[RESERVE], *self.effects[CHARGE]]
        return [e.undone_at for e in effects if e.undone_at is not None] + reversals


def disagreements(runs: Iterable[SagaRun]) -> list[str]:
    """Name everything that is not as the outcomes of ``runs`` say; nothing means all is well."""
    found = [
        f"{run.key} ({run.state}): {problem}"
        for run, facts in _with_facts(runs)
        for problem in _problems(run, facts)
    ]
    return found + list(_stock_problems())


def remains(runs: Iterable[SagaRun]) -> list[str]:
    """Say what still stands of each dead letter: what a human has to decide about."""
    return [
        f"{run.key}: {', '.join(_standing(facts)) or 'nothing'}"
        for run, facts in _with_facts(runs)
        if run.state == SagaState.DEAD_LETTER
    ]


def _with_facts(runs: Iterable[SagaRun]) -> list[tuple[SagaRun, Facts]]:
    codec = FulfilOrder.definition.input_codec
    paired = [(run, Facts(codec.load(run.input))) for run in runs]
    by_order = {facts.order.order_id: facts for _, facts in paired}
    for effect in Effect.objects.filter(order_id__in=by_order):
        by_order[effect.order_id].effects[effect.action].append(effect)
    for booking in Ledger.objects.filter(order_id__in=by_order):
        by_order[booking.order_id].bookings.append(booking)
    return paired


def _problems(run: SagaRun, facts: Facts) -> Iterator[str]:
    yield from _repeated(facts)
    yield from _wrong_amounts(facts)
    yield from _wrong_undo_order(facts)
    if run.is_completed:
        yield from _missing_after_completion(facts, warned=run.has_warnings)
    elif run.is_compensated:
        yield from _left_after_rollback(facts)
    elif not run.is_final and run.state != SagaState.DEAD_LETTER:
        yield "it has not ended"


def _repeated(facts: Facts) -> Iterator[str]:
    for action, effects in facts.effects.items():
        if len(effects) > 1:
            yield f"{action} was asked for under {len(effects)} keys"
    booked = sum(booking.amount > 0 for booking in facts.bookings)
    if booked > 1:
        yield f"the revenue was booked {booked} times"
    if len(facts.bookings) - booked > 1:
        yield f"the revenue was reversed {len(facts.bookings) - booked} times"


def _wrong_amounts(facts: Facts) -> Iterator[str]:
    order = facts.order
    if facts.earned not in {0, order.amount}:
        yield f"the books say {facts.earned}, the order {order.amount}"
    for charge in facts.happened(CHARGE):
        if Decimal(charge.details["amount"]) != order.amount:
            yield f"{charge.details['amount']} was charged, not {order.amount}"
    for kept in facts.happened(RESERVE):
        if (kept.details["sku"], kept.details["quantity"]) != (order.sku, order.quantity):
            yield f"{kept.details} was reserved, not {order.quantity} of {order.sku}"


def _wrong_undo_order(facts: Facts) -> Iterator[str]:
    if any(earlier <= later for earlier, later in pairwise(facts.undone_at)):
        yield f"not undone in reverse order: {[str(at) for at in facts.undone_at]}"


def _missing_after_completion(facts: Facts, *, warned: bool) -> Iterator[str]:
    is_abroad = facts.order.country != HOME_COUNTRY
    expected = {RESERVE: 1, CHARGE: 1, PAPERS: int(is_abroad), SHIP: 1}
    if not warned:
        expected[CONFIRM] = 1
    for action, times in expected.items():
        standing = len(facts.standing(action))
        if standing != times:
            yield f"{action} stands {standing} times, not {times}"
    if facts.undone_at:
        yield "something was undone"
    if facts.earned != facts.order.amount:
        yield f"the books say {facts.earned}, the order {facts.order.amount}"


def _left_after_rollback(facts: Facts) -> Iterator[str]:
    for action in (RESERVE, CHARGE):
        if facts.standing(action):
            yield f"{action} was not undone"
    for action in (SHIP, CONFIRM):
        if facts.happened(action):
            yield f"{action} happened, and cannot be undone"
    if facts.earned:
        yield f"the books still say {facts.earned}"


def _standing(facts: Facts) -> Iterator[str]:
    for action in (RESERVE, CHARGE, SHIP):
        if facts.standing(action):
            yield f"{action} stands"
    if facts.earned:
        yield f"{facts.earned} in the books"


def _stock_problems() -> Iterator[str]:
    # One statement, so that it can be asked while orders are being fulfilled.
    quantity = Cast(KT("details__quantity"), IntegerField())
    kept = (
        Effect.objects.filter(action=RESERVE, at__isnull=False, undone_at__isnull=True)
        .annotate(sku=KT("details__sku"), quantity=quantity)
        .filter(sku=OuterRef("sku"))
        .order_by()
        .values("sku")
        .annotate(total=Sum("quantity"))
        .values("total")
    )
    shelves = StockItem.objects.annotate(kept=Coalesce(Subquery(kept), 0))
    for shelf in shelves.exclude(initial=F("level") + F("kept")):
        yield f"{shelf.sku}: {shelf.level} on the shelf + {shelf.kept} reserved != {shelf.initial}"
