"""The wheel alone, in an environment that holds nothing else, runs a saga as README says."""

import sys
import venv
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from packaging.utils import canonicalize_name

from benchmarks.compatibility import lock
from benchmarks.plant.servers.process import ServerProcess
from benchmarks.plant.servers.rabbitmq import start_rabbitmq
from benchmarks.plant.servers.redis import start_redis
from config.environment import database
from tests.conftest import running
from tests.database import suite
from tests.packaging import readme, wheels
from tests.packaging.environments import isolated, run


pytestmark = pytest.mark.acceptance

STARTED = """
from sagas import start_saga
from shop.sagas import Greet
run = start_saga(Greet, "Ada", key="greet-Ada").wait(60)
print([run.state, run.steps.get(name="say_hello").output])
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheel is installed, with what it asks for.

    That is found in a folder with the locked releases, so nothing here depends on the day.
    """
    folder = tmp_path_factory.mktemp("bare")
    index = folder / "wheels"
    index.mkdir()
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    run([*build, "--wheel-dir", str(index), str(lock.CHECKOUT)])
    for name in _all_that_could_be_asked_for():
        wheels.pack(distribution(name), index)
    programs = folder / "env" / "bin"
    venv.create(folder / "env")
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    # Most of what is installed is never imported, so compiling it is most of the time.
    run([*pip, "install", "--no-compile", f"{lock.NAME}[binary]"], env=isolated(index))
    return programs


def _all_that_could_be_asked_for() -> list[str]:
    """Also what an extra of anything brings: its absence must not be what keeps it away."""
    wanted = lock.closure(lock.declared(), every_extra=True)
    return sorted(name for name in {canonicalize_name(one.name) for one in wanted} if _here(name))


def _here(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


@pytest.fixture
def database_settings(
    request: pytest.FixtureRequest, django_db_modify_db_settings: None
) -> Iterator[str]:
    """``DATABASES`` of a project of its own; the database is new and empty."""
    if suite.kind == "sqlite":
        yield ""  # as startproject writes it
        return
    name = "bare_wheel"
    server = urlunsplit(urlsplit(suite.url)._replace(path="/postgres"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
        own = urlunsplit(urlsplit(suite.url)._replace(path=f"/{name}"))
        yield f"\nDATABASES = {{'default': {database(own)!r}}}\n"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(
    params=[
        pytest.param(start_redis, marks=pytest.mark.redis, id="redis"),
        pytest.param(start_rabbitmq, marks=pytest.mark.rabbitmq, id="rabbitmq"),
    ]
)
def broker(request: pytest.FixtureRequest) -> Iterator[str]:
    """A new one: a queue keeps the type that it was declared with, and this project's are its own."""
    for server in running(request.param):
        yield server.url


@pytest.fixture
def project(bare: Path, broker: str, database_settings: str, tmp_path: Path) -> Path:
    """A project as ``django-admin`` makes it, to which README's code blocks were added."""
    run([str(bare / "django-admin"), "startproject", "config", "."], cwd=tmp_path, env=_clean())
    written = readme.write_files(tmp_path)
    assert {"config/celery.py", "config/settings.py", "shop/sagas.py"} <= set(written)
    with (tmp_path / "config/settings.py").open("a") as settings:
        settings.write(f"\nCELERY_BROKER_URL = {broker!r}\n{database_settings}")
    (tmp_path / "shop/__init__.py").touch()
    return tmp_path


@pytest.fixture
def worker(bare: Path, project: Path) -> Iterator[ServerProcess]:
    """README's command, and a bound for the machine."""
    manage(bare, project, "migrate")
    plain = [f"{name}={value}" for name, value in _clean().items()]
    celery = [str(bare / "celery"), "-A", "config", "worker", "-l", "INFO", "-c", "2"]
    process = ServerProcess(
        name="worker",
        url="",
        folder=project,
        # What this process was told, such as other settings, is not for the project.
        command=["env", "--ignore-environment", *plain, *celery],
        answers=lambda: " ready." in process.log.read_text(),
    )
    process.start()
    yield process
    process.stop()


def test_a_new_project_runs_a_saga_as_readme_says(
    bare: Path, project: Path, worker: ServerProcess
) -> None:
    said = manage(bare, project, "shell", "-v", "0", "-c", STARTED)
    expected = "['completed', 'Hello Ada, at a door for Ada']"
    assert said.splitlines()[-1] == expected, worker.log.read_text()[-4000:]
    manage(bare, project, "check", "--deploy")


def manage(bare: Path, project: Path, *command: str) -> str:
    return run([str(bare / "python"), "manage.py", *command], cwd=project, env=_clean())


def _clean() -> dict[str, str]:
    return isolated(Path("/nonexistent"))
