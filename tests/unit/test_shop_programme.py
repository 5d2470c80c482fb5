"""The orders of the demo."""

from collections import Counter

from examples.shop.programme import programme
from sagas.states import SagaState


def test_the_demo_has_forty_orders_and_each_ending_is_among_them() -> None:
    endings = Counter(planned.outcome_when_undone for planned in programme())
    assert endings.total() == 40
    assert endings[SagaState.DEAD_LETTER] == 1
    assert endings[SagaState.COMPENSATED] >= 10


def test_the_demo_has_the_same_orders_at_each_call() -> None:
    def facts() -> list[tuple[str, str, str, int]]:
        return [(p.wish.fail_at, p.wish.fail_how, p.wish.sku, p.wish.quantity) for p in programme()]

    assert facts() == facts()


def test_papers_can_only_fail_for_an_order_from_abroad() -> None:
    failing = [p.wish for p in programme() if p.wish.fail_at == "customs_papers"]
    assert failing
    assert all(wish.country != "NL" for wish in failing)
