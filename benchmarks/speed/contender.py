"""Who takes part, and how each one's documentation says to run it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

from benchmarks.plant.environment import environment_with, name_of, version_of
from benchmarks.plant.worker_process import CHECKOUT
from benchmarks.speed.applications.ledger import LEDGER_VARIABLE


APPLICATIONS = "benchmarks.speed.applications"
FIVE_STEPS = "5 no-op steps"
QUIETLY = ("-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where the servers of one contender are."""

    postgres: str
    redis: str
    ledger: str


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A way to run five steps after each other.

    In ``prepare``, ``workers`` and ``client`` the first word is a program of the contender's
    environment, ``{processes}`` and ``{number}`` are filled in. A worker command with ``{number}`` is
    started once for each process; another one forks them by itself.
    """

    name: str
    application: str
    package: str = ""
    """What to install in an environment of its own. Empty: this project's environment will do."""
    beside: Sequence[str] = ("redis",)
    shown: Sequence[str] = ()
    """Packages whose versions are told."""
    workload: str = FIVE_STEPS
    steps: int = 5
    """Of a saga; longer ones are measured in fewer pieces."""
    processes: int = 2
    """How many worker processes run steps; or how many threads or greenlets, where those do."""
    prepare: Sequence[str] = ()
    worker: Sequence[str] = ()
    client: Sequence[str] = ("python", "-m", "{application}", "client")
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_postgres: bool = True
    needs_redis: bool = True

    def python(self) -> Path:
        """Return the Python that has the packages.

        Raises:
            Absent: they cannot be installed.
        """
        if not self.package:
            return Path(sys.executable)
        return environment_with(self.package, beside=self.beside)

    def versions(self) -> str:
        """Name the packages and their versions.

        Raises:
            Absent: they cannot be installed.
        """
        python = self.python()
        told = [(name, version(name)) for name in self.shown]
        if self.package:
            told.insert(0, (name_of(self.package), version_of(python, self.package)))
        return ", ".join(f"{name} {number}" for name, number in told)

    def commands(self, words: Sequence[str], parts: Parts) -> list[list[str]]:
        """Return what to start, one command per process where the words ask for it."""
        folder = self.python().parent
        several = any("{number}" in word for word in words)
        return [
            [str(folder / words[0]), *(self._fill(word, parts, number) for word in words[1:])]
            for number in (range(1, self.processes + 1) if several else (0,))
        ]

    def variables(self, parts: Parts) -> dict[str, str]:
        """Return the environment of all its processes."""
        given = {name: self._fill(value, parts, 0) for name, value in self.environment.items()}
        return {
            LEDGER_VARIABLE: parts.ledger,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONWARNINGS": "ignore",
            "DATABASE_URL": parts.postgres,
            "SPEED_BROKER": f"{parts.redis}/0",
            **given,
        }

    def _fill(self, word: str, parts: Parts, number: int) -> str:
        return word.format(
            application=f"{APPLICATIONS}.{self.application}",
            postgres=parts.postgres,
            redis=parts.redis,
            processes=self.processes,
            number=number,
        )


def celery(application: str, pool: str = "prefork") -> list[str]:
    """Return how a worker with this pool is started."""
    where = ["-P", pool, "-c", "{processes}"]
    return ["python", "-m", "celery", "-A", application, "worker", *where, *QUIETLY]


def _ours(name: str, saga: str) -> Contender:
    return Contender(
        name=name,
        application="ours",
        shown=("django-celery-sagas", "Django", "psycopg"),
        prepare=("python", "-m", "{application}", "prepare"),
        worker=celery("config"),
        client=("python", "-m", "{application}", "client", saga),
        environment={
            "DJANGO_SETTINGS_MODULE": "benchmarks.speed.settings",
            "SAGAS_BROKER_URL": "{redis}/0",
            "SAGAS_LOG_LEVEL": "WARNING",
        },
    )


def _chain(name: str, **further: object) -> Contender:
    given: dict[str, object] = {
        "application": "celery_chain",
        "shown": ("celery", "kombu"),
        "worker": celery("{application}"),
        "needs_postgres": False,
        **further,
    }
    return Contender(name=name, **given)  # type: ignore[arg-type]


IN_A_PROJECT = {"DJANGO_SETTINGS_MODULE": f"{APPLICATIONS}.celery_chain_settings"}

IN_PLACE = _ours("ours, in place", "speed.InPlace")
PER_STEP = _ours("ours, one message per step", "speed.OneMessagePerStep")
COMPENSATED = replace(
    _ours("ours, compensated", "speed.InPlace"),
    workload="5 no-op steps, the last fails",
    client=("python", "-m", "{application}", "client", "speed.InPlace", "fails"),
)
CHAIN = _chain("chain(), results off", environment=IN_A_PROJECT)
BARE_CHAIN = _chain("chain(), without Django")
CHAIN_DJANGO_DB = _chain(
    "chain(), results in django-db",
    shown=("celery", "django-celery-results"),
    prepare=("python", "-m", "{application}", "prepare"),
    environment={**IN_A_PROJECT, "SPEED_RESULTS": "django-db"},
    needs_postgres=True,
)
CELERY_SAGA = _chain(
    "celery-saga",
    application="celery_saga",
    package="celery-saga[redis]",
    beside=("kombu", "redis", "celery[redis]"),
    shown=(),
    environment={"SPEED_STATE": "{redis}/1"},
    client=("python", "-m", "{application}"),
)
DBOS = Contender(
    name="DBOS queue",
    application="dbos_queue",
    package="dbos",
    prepare=("dbos", "migrate", "--sys-db-url", "{postgres}"),
    worker=("python", "-m", "{application}", "worker", "{number}"),
    needs_redis=False,
)
PROCRASTINATE = Contender(
    name="procrastinate",
    application="procrastinate_jobs",
    package="procrastinate",
    prepare=("procrastinate", "--app={application}.app", "schema", "--apply"),
    worker=("procrastinate", "--app={application}.app", "worker", "--name={number}"),
    client=("python", "-m", "{application}"),
    needs_redis=False,
)
DRAMATIQ = Contender(
    name="dramatiq pipeline",
    application="dramatiq_pipeline",
    package="dramatiq[redis]",
    worker=("dramatiq", "{application}", "--processes", "{processes}"),
    client=("python", "-m", "{application}"),
    needs_postgres=False,
)

BASELINE = CHAIN
CONTENDERS = {
    "chain": CHAIN,
    "in-place": IN_PLACE,
    "per-step": PER_STEP,
    "compensated": COMPENSATED,
    "bare-chain": BARE_CHAIN,
    "django-db": CHAIN_DJANGO_DB,
    "celery-saga": CELERY_SAGA,
    "dbos": DBOS,
    "procrastinate": PROCRASTINATE,
    "dramatiq": DRAMATIQ,
}
"""In the order of their turns: ours beside the baseline, so that they meet the same machine."""
