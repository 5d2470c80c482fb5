"""The same on the other broker, for a case of every kind."""

import pytest

from tests.faults.cases import FAST, Case
from tests.faults.table import Matrix


BROKER = "RabbitMQ"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.faults,
    pytest.mark.acceptance,
    pytest.mark.postgres,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize("case", sorted(FAST, key=str), ids=str)
def test_the_saga_ends_and_what_it_says_is_what_happened(case: Case, matrix: Matrix) -> None:
    ending = matrix.endings[case]
    assert not ending.violations, "\n".join(ending.violations)


def test_no_worker_ended_by_itself(matrix: Matrix) -> None:
    assert not matrix.fleet.ended_by_themselves
