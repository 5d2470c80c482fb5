"""Real parts for the tests that ask for them, and no silent skips."""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import hypothesis
import pytest
from django.db import connection

from benchmarks.plant.servers import pgbouncer, rabbitmq, redis
from benchmarks.plant.servers.process import ServerProcess, Unavailable
from benchmarks.plant.worker_process import WorkerProcess
from tests import emptying
from tests.broker import publishing_to, purge
from tests.database import suite
from tests.longest_first import LongestFirst


# A slow machine is not a failing example.
hypothesis.settings.register_profile("sagas", deadline=None)
hypothesis.settings.load_profile("sagas")

WORKERS = pytest.StashKey[list[WorkerProcess]]()
ON_CI = os.environ.get("CI", "").lower() in {"1", "true"}


def pytest_configure(config: pytest.Config) -> None:
    """Whoever ends the run early ends the servers and workers it started as well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    emptying.install()
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(LongestFirst())
    shared = [name for name in (redis.URL_VARIABLE, rabbitmq.URL_VARIABLE) if os.environ.get(name)]
    if shared and config.getoption("numprocesses"):
        raise pytest.UsageError(f"Processes would meet in the broker of {shared[0]}; use -n 0.")


def pytest_report_header() -> str:
    wish = f" ({suite.missing})" if suite.missing else ""
    return f"database under test: {suite.kind}{wish}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to the run on the other database; nothing of that is a skip."""
    other = {"postgresql": "sqlite", "sqlite": "postgres"}[suite.kind]
    foreign = [item for item in items if item.get_closest_marker(other)]
    if suite.missing:
        for item in foreign:
            item.add_marker(pytest.mark.skip(reason=suite.missing))
    elif foreign:
        config.hook.pytest_deselected(items=foreign)
        items[:] = [item for item in items if item not in foreign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the workers' logs beside a failure.

    In CI a skipped test is a failed one: a missing part must not look like a passing test.
    """
    report = yield
    if report.failed:
        logs = ((f"log of {worker.name}", worker.tail()) for worker in item.stash.get(WORKERS, []))
        report.sections.extend(logs)
    if ON_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not accept: {report.longrepr}"
    return report


# The database


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_xdist_suffix: None) -> None:
    """Before Django creates the test database, there is a server to create it on.

    On a server that was given, parallel processes have databases by different names.
    """
    suite.start()


@pytest.fixture
def acceptance_database(transactional_db: None) -> str:
    """The URL of the database under test, for other processes; this one is connected to it."""
    return database_url()


def database_url() -> str:
    """Return where other processes find the database that this one is connected to."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    user, password = quote(values["USER"]), quote(values["PASSWORD"])
    who = f"{user}:{password}" if password else user
    return f"postgresql://{who}@{values['HOST']}:{values['PORT']}/{values['NAME']}"


# The servers


@pytest.fixture(scope="session")
def postgres_server(django_db_modify_db_settings: None) -> ServerProcess:
    """The private PostgreSQL under test, to be stalled or killed."""
    if suite.server is None:
        pytest.skip(suite.missing or "the database under test is not a private PostgreSQL")
    return suite.server


@pytest.fixture
def pgbouncer_server(acceptance_database: str) -> Iterator[ServerProcess]:
    """A private PgBouncer before the database under test."""
    yield from running(partial(pgbouncer.start_pgbouncer, acceptance_database))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[ServerProcess]:
    """A private Redis, to be stalled or killed."""
    yield from running(redis.start_redis)


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[ServerProcess]:
    """A private RabbitMQ, to be stalled or killed."""
    yield from running(rabbitmq.start_rabbitmq)


def running(start: Callable[[], ServerProcess]) -> Iterator[ServerProcess]:
    """Yield a server that ends afterwards, or skip the test and say what is missing."""
    try:
        server = start()
    except Unavailable as missing:
        pytest.skip(str(missing))
    yield server
    server.remove()


# The brokers


@pytest.fixture
def redis_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty Redis broker, which this process publishes to as well."""
    url = redis_url(request)
    with publishing_to(url):
        yield url


def redis_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty Redis."""
    given = os.environ.get(redis.URL_VARIABLE)
    return given or redis.unused_database(request.getfixturevalue("redis_server").url)


@pytest.fixture
def rabbitmq_broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty RabbitMQ broker, which this process publishes to as well."""
    url = rabbitmq_url(request)
    with publishing_to(url):
        yield url


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
    ]
)
def any_broker(request: pytest.FixtureRequest) -> str:
    """The URL of an empty broker: Redis, then RabbitMQ with quorum queues."""
    url: str = request.getfixturevalue(f"{request.param}_broker")
    return url


@pytest.fixture(
    params=[
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.slow]),
    ]
)
def usual_broker(request: pytest.FixtureRequest) -> str:
    """The same, for what the brokers do not differ in: RabbitMQ is left to ``make faults``."""
    url: str = request.getfixturevalue(f"{request.param}_broker")
    return url


def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a RabbitMQ whose queues were emptied."""
    given: str | None = os.environ.get(rabbitmq.URL_VARIABLE)
    url: str = given or request.getfixturevalue("rabbitmq_server").url
    purge(url)
    return url


# The workers


class WorkerFactory(Protocol):
    """Starts a worker; see :class:`~benchmarks.plant.worker_process.WorkerProcess` for the options."""

    def __call__(self, broker_url: str, **options: Any) -> WorkerProcess: ...


@pytest.fixture
def worker_factory(
    acceptance_database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[WorkerFactory]:
    """Start workers on the database under test; they end before its tables are emptied."""
    workers = request.node.stash.setdefault(WORKERS, [])

    def start(broker_url: str, **options: Any) -> WorkerProcess:
        wait = options.pop("wait", True)
        options.setdefault("database_url", acceptance_database)
        worker = WorkerProcess(broker_url=broker_url, folder=tmp_path, **options)
        workers.append(worker)
        return worker.start(wait=wait)

    yield start
    for worker in workers:
        worker.kill()
