"""Whatever is killed, cut or raised at whichever boundary, the saga ends and tells the truth."""

import pytest

from tests.faults.cases import CASES, FAST, Case
from tests.faults.table import Matrix


BROKER = "Redis"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.faults,
    pytest.mark.acceptance,
    pytest.mark.postgres,
    pytest.mark.redis,
    # The first test waits for all of them, which run side by side.
    pytest.mark.timeout(1800),
]


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=str(c), marks=() if c in FAST else (pytest.mark.slow,)) for c in CASES],
)
def test_the_saga_ends_and_what_it_says_is_what_happened(case: Case, matrix: Matrix) -> None:
    ending = matrix.endings[case]
    assert not ending.violations, "\n".join(ending.violations)


def test_no_worker_ended_by_itself(matrix: Matrix) -> None:
    assert not matrix.fleet.ended_by_themselves
