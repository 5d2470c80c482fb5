"""Who looks after a step: from its declaration to whoever reads of its failure (R116)."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from sagas import Saga, start_saga, step
from sagas.models import SagaRun
from tests.driving import drive, step_of
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)


class Owned(Saga[str]):
    """Three steps of three kinds of owners; the input names the handlers that fail."""

    class Meta:
        label = "tests.Owned"
        step_defaults = {"owner": "shop-team", "max_retries": 0}

    def act(self, name: str) -> None:
        if name in self.input.split(","):
            raise KeyError(name)

    @step
    def order(self) -> None:
        self.act("order")

    @order.compensation(max_retries=0)
    def undo_order(self, _: None) -> None:
        self.act("undo_order")

    @step(owner="payments-team")
    def pay(self) -> None:
        self.act("pay")

    @pay.compensation(owner="refunds-team", max_retries=0)
    def refund(self, _: None) -> None:
        self.act("refund")

    @step(owner="mail-team", critical=False)
    def tell(self) -> None:
        self.act("tell")

    tell.no_compensation("best effort")

    @step
    def close(self) -> None:
        self.act("close")

    close.no_compensation("it is the last")


def run_with(*failing: str) -> SagaRun:
    return drive(start_saga(Owned, ",".join(failing), key=f"k-{'-'.join(failing)}"))


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("saga", *arguments, stdout=out)
    return out.getvalue()


def test_every_row_knows_its_owner_and_a_compensation_that_says_none_has_its_steps() -> None:
    run = run_with("close")
    assert {row.handler: row.owner for row in run.steps.all()} == {
        "order": "shop-team",
        "pay": "payments-team",
        "tell": "mail-team",
        "close": "shop-team",
        "refund": "refunds-team",
        "undo_order": "shop-team",
    }


def test_an_owner_stays_what_it_was_when_the_run_began() -> None:
    run = run_with()
    assert step_of(run, "pay").options["owner"] == "payments-team"
    assert "owner" not in step_of(drive(start_saga(Five, Script(), key="k")), "a").options


def test_a_dead_letter_names_its_owner() -> None:
    assert "It is owned by refunds-team." in run_with("close", "refund").explain()
    assert "It is owned by shop-team." in run_with("close", "undo_order").explain()
    assert "owned by" not in run_with("close").explain()


def test_the_command_line_shows_the_owner() -> None:
    run = run_with("close", "refund")
    lines = said("show", run.key).splitlines()
    assert any(line.startswith("pay ") and "payments-team" in line for line in lines)
    assert any(line.startswith("undo of pay ") and "refunds-team" in line for line in lines)
    steps = json.loads(said("show", run.key, "--json"))["steps"]
    assert [row["owner"] for row in steps if row["name"] == "pay"] == [
        "payments-team", "refunds-team"
    ]  # fmt: skip


class TestAdmin:
    def test_the_page_of_a_run_shows_the_owner_of_each_step(self, admin_client: Client) -> None:
        run = run_with("close", "refund")
        page = admin_client.get(f"/admin/sagas/sagarun/{run.pk}/change/").content.decode()
        for owner in ("shop-team", "payments-team", "refunds-team"):
            assert f"owned by {owner}" in page
        assert "It is owned by refunds-team." in page

    @pytest.mark.parametrize(
        ("owner", "expected"),
        [
            ("refunds-team", {"k-close-refund"}),
            ("mail-team", {"k-tell"}),
            ("payments-team", set()),
            ("shop-team", {"k-close-refund", "k-close-undo_order"}),
        ],
    )
    def test_the_list_is_narrowed_to_what_an_owner_has_to_look_at(
        self, admin_client: Client, owner: str, expected: set[str]
    ) -> None:
        for failing in (["close", "refund"], ["close", "undo_order"], ["tell"], ["pay"], []):
            run_with(*failing)
        page: Any = admin_client.get(f"/admin/sagas/sagarun/?owner={owner}")
        assert {run.key for run in page.context["cl"].queryset} == expected
        assert "owner of what failed" in page.content.decode()
