"""The demo tells the truth: about orders that end as they must, and about those that do not."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks.plant.worker_process import CHECKOUT
from examples.shop.models import Effect
from examples.shop.orders import Wish, place_order
from examples.shop.report import print_report
from sagas.models import SagaRun
from sagas.states import SagaState
from tests.driving import drive


def fulfil(fail_at: str = "") -> SagaRun:
    wish = Wish(customer_id="ada", sku="LAMP", fail_at=fail_at, fail_how="permanent")
    run = place_order(wish).run
    assert run is not None
    return drive(run)


@pytest.mark.django_db
class TestTheReport:
    def test_is_content_when_all_is_as_planned(self, capsys: pytest.CaptureFixture[str]) -> None:
        runs = [fulfil(), fulfil("create_shipment"), fulfil("refund_payment")]
        expected = {run.pk: SagaState(run.state) for run in runs}

        assert print_report(runs, expected) == 0
        text = re.sub(" +", " ", capsys.readouterr().out)
        assert "completed 1\n compensated 1\n dead letter 1\n" in text
        assert "release inventory (1)" in text
        assert "reverse revenue (2)" in text
        assert "agree with the outcomes of all 3 orders" in text

    def test_names_an_order_that_ended_otherwise(self, capsys: pytest.CaptureFixture[str]) -> None:
        run = fulfil("check_fraud")
        assert print_report([run], {run.pk: SagaState.COMPLETED}) == 1
        assert f"{run.key} should have ended completed" in capsys.readouterr().out

    def test_names_a_disagreement(self, capsys: pytest.CaptureFixture[str]) -> None:
        run = fulfil()
        Effect.objects.filter(action="ship").delete()
        assert print_report([run], {run.pk: SagaState.COMPLETED}) == 1
        text = capsys.readouterr().out
        assert "DISAGREE" in text
        assert "ship stands 0 times, not 1" in text
        assert "agree with the outcomes" not in text


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_the_demo_needs_nothing_and_survives_its_own_killing() -> None:
    configured = ("DATABASE_URL", "SAGAS_BROKER_URL", "SAGAS_DATA_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in configured}
    demo = subprocess.run(
        [sys.executable, "-m", "examples.shop.demo"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.search(r"SIGKILL .*It was running: .*process_payment of order-", demo.stdout)
    assert "Books and stock agree with the outcomes of all 40 orders." in demo.stdout
    assert demo.stderr == ""
