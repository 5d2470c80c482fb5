"""The crash matrix is run once for all selected cases; its table is printed at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from tests.broker import publishing_to
from tests.conftest import WORKERS, database_url, rabbitmq_url, redis_url
from tests.faults.cases import Case
from tests.faults.fleet import Fleet, fleet
from tests.faults.matrix import Ending, run_cases
from tests.faults.table import Matrix
from tests.quick import QUICK


WORKERS_IN_FLEET = 4

MATRICES = pytest.StashKey[list[Matrix]]()


@pytest.fixture(scope="module")
def matrix(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: Any,
) -> Iterator[Matrix]:
    """How the saga of every selected case ended, on the broker that the module names."""
    kind: str = request.module.BROKER
    broker = {"Redis": redis_url, "RabbitMQ": rabbitmq_url}[kind](request)
    folder = tmp_path_factory.mktemp("matrix")
    cases = _selected(request)
    began = time.monotonic()
    with (
        django_db_blocker.unblock(),
        override_settings(SAGAS={**settings.SAGAS, **QUICK}),
        publishing_to(broker),
    ):
        with fleet(
            min(WORKERS_IN_FLEET, max(len(cases), 1)),
            database_url=database_url(),
            broker_url=broker,
            folder=folder,
            settings=QUICK,
        ) as workers:
            _show_logs(request, workers)
            with _progress(request.config, len(cases)) as tell:
                endings = run_cases(cases, workers, folder, tell)
        found = Matrix(
            broker=kind, endings=endings, seconds=time.monotonic() - began, fleet=workers
        )
        request.config.stash.setdefault(MATRICES, []).append(found)
        yield found
        call_command("flush", interactive=False, verbosity=0)
        connection.close()


def _selected(request: pytest.FixtureRequest) -> list[Case]:
    return [
        item.callspec.params["case"]  # type: ignore[misc]  # each value of "case" is a Case
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module is request.module
        and "case" in item.fixturenames
    ]


def _show_logs(request: pytest.FixtureRequest, workers: Fleet) -> None:
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.module is request.module:
            item.stash[WORKERS] = list(workers.workers)


@contextmanager
def _progress(config: pytest.Config, total: int) -> Iterator[Any]:
    """Say how far it is: a matrix of minutes must not look like a matrix that hangs."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    capture = config.pluginmanager.getplugin("capturemanager")

    def tell(number: int, ending: Ending) -> None:
        line = f"{number:4}/{total} {ending.seconds:5.1f} s {ending.run.state:12} {ending.case}"
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)

    # One of parallel processes has nowhere to say it.
    told = reporter is not None and config.get_verbosity() >= 0
    yield tell if told else lambda number, ending: None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print boundary by fault → outcome and seconds."""
    for matrix in config.stash.get(MATRICES, []):
        terminalreporter.section(f"crash matrix on PostgreSQL and {matrix.broker}")
        for line in matrix.lines():
            terminalreporter.write_line(line)
