"""The order in which parallel processes take files: none is left alone at the end with a long one."""

from pathlib import Path

import pytest


TESTS = Path(__file__).parent

LONGEST = (
    "packaging/test_bare_wheel.py",
    "faults/test_model.py",
    "acceptance/test_stopping.py",
    "acceptance/test_pools.py",
    "integration/test_operation_races.py",
    "packaging/test_lock.py",
    "integration/test_concurrency.py",
    "integration/test_verbs_agree.py",
    "acceptance/test_broker.py",
    "acceptance/test_limits.py",
    "integration/test_history.py",
    "integration/test_waiting_races.py",
    "integration/test_shop_saga.py",
    "acceptance/test_flows.py",
    "integration/test_postgresql_statements.py",
    "acceptance/test_orders.py",
    "faults/test_crash_matrix.py",
    "acceptance/test_deploy_in_flight.py",
    "faults/test_model_conformance.py",
    "acceptance/test_waiting.py",
    "integration/test_testing.py",
    "acceptance/test_callbacks.py",
    "integration/test_shop_demo.py",
    "integration/test_saga_command.py",
    "acceptance/test_interrupted_runs.py",
    "integration/test_start_many.py",
    "integration/test_refused_messages.py",
    "integration/test_costs.py",
    "integration/test_doubt.py",
    "integration/test_operations_allowed.py",
)
"""Each took more than half a minute on PostgreSQL when two processors were shared by many."""


class LongestFirst:
    """Sorts the files; within a file the order stays."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the longest files first, and what starts real processes before the rest."""
        items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[int, bool]:
    name = item.path.relative_to(TESTS).as_posix()
    place = LONGEST.index(name) if name in LONGEST else len(LONGEST)
    return place, not name.startswith(("acceptance/", "faults/", "packaging/"))
