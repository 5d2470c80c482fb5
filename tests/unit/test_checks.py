"""``manage.py check`` says what is wrong with sagas and settings, each with an id and a cure."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core.checks import CheckMessage, Error, run_checks
from django.core.checks.registry import registry as check_registry
from django.test import override_settings

from sagas import Saga, checks, remote, step
from sagas.checks.pools import kind_of
from sagas.definitions import registry
from sagas.worker.bootsteps import tell_of_pool
from tests.broker import configure


POSTGRES: dict[str, Any] = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": "sagas",
    "CONN_MAX_AGE": 600,
    "CONN_HEALTH_CHECKS": True,
}
REDIS_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 2}
GOOD_CELERY: dict[str, Any] = {
    "task_always_eager": False,
    "task_reject_on_worker_lost": False,
    "accept_content": ["json"],
    "broker_url": "redis://localhost",
    "worker_pool": "prefork",
    "broker_write_url": "redis://localhost",
    "broker_transport_options": REDIS_OPTIONS,
    "CELERY_DB_REUSE_MAX": 1000,
}


@pytest.fixture(autouse=True)
def _no_sagas_of_the_project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with registry.isolated():
        for name in ("_sagas", "_by_label"):
            monkeypatch.setattr(registry, name, {} if name == "_sagas" else None)
        yield


@contextmanager
def production(
    *, celery: dict[str, Any] | None = None, database: dict[str, Any] | None = None
) -> Iterator[None]:
    """Settings that nothing is wrong with, but for what is given."""
    conf = current_app.conf
    before = {name: conf.get(name) for name in GOOD_CELERY}
    databases = {"default": {**POSTGRES, **(database or {})}}
    configure({**GOOD_CELERY, **(celery or {})})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(settings, "DATABASES", databases)
            yield
    finally:
        configure(before)


def found(*, deploy: bool = True) -> dict[str | None, CheckMessage]:
    """Run the checks of the package and return what they say, by id."""
    messages = run_checks(tags=[checks.TAG], include_deployment_checks=deploy)
    return {message.id: message for message in messages}


class TestSettings:
    def test_an_unknown_key_is_an_error_with_the_likely_one(self) -> None:
        with override_settings(SAGAS={"STEP_QUEU": "x"}):
            message = found(deploy=False)["sagas.E001"]
        assert "Did you mean 'STEP_QUEUE'?" in message.msg
        assert isinstance(message, Error)

    def test_a_wrong_type_is_an_error(self) -> None:
        with override_settings(SAGAS={"MAX_PAYLOAD_BYTES": "many"}):
            assert "must be int" in found(deploy=False)["sagas.E001"].msg

    def test_a_lease_shorter_than_two_renewals_is_an_error(self) -> None:
        with override_settings(SAGAS={"LEASE_SECONDS": 5, "LEASE_RENEWAL_SECONDS": 3}):
            messages = found(deploy=False)
        assert "shorter than two renewals" in messages["sagas.E014"].msg


class TestDefinitions:
    def test_a_sound_saga_is_not_mentioned(self) -> None:
        class Pay(Saga[int]):
            @step(pivot=True)
            def charge(self) -> None: ...

        assert found(deploy=False) == {}

    def test_a_problem_names_saga_step_and_cure(self) -> None:
        class Pay(Saga[int]):
            @step
            def charge(self) -> None: ...

        message = found(deploy=False)["sagas.E010"]
        assert message.msg == "tests.Pay: charge says nothing about how it is undone."
        assert "@charge.compensation" in (message.hint or "")
        assert message.obj is Pay
        assert isinstance(message, Error)

    def test_two_sagas_of_one_label_are_an_error(self) -> None:
        class Pay(Saga[int]):
            class Meta:
                label = "shop.Pay"

            @step(pivot=True)
            def charge(self) -> None: ...

        class Other(Saga[int]):
            class Meta:
                label = "shop.Pay"

            @step(pivot=True)
            def charge(self) -> None: ...

        message = found(deploy=False)["sagas.E002"]
        assert message.msg.startswith("shop.Pay is the label of ")
        assert "Pay and of " in message.msg
        assert "Other" in message.msg


class TestDeploy:
    def test_good_settings_give_no_warning(self) -> None:
        with production():
            assert found() == {}

    def test_settings_are_not_judged_without_the_deploy_flag(self) -> None:
        with production(celery={"task_always_eager": True}):
            assert found(deploy=False) == {}

    @pytest.mark.parametrize(
        ("celery", "problem", "words"),
        [
            ({"task_always_eager": True}, "sagas.E011", "die with it"),
            ({"task_reject_on_worker_lost": True}, "sagas.W003", "silences the error callback"),
            ({"accept_content": ["json", "pickle"]}, "sagas.W006", "'pickle'"),
            ({"CELERY_DB_REUSE_MAX": None}, "sagas.W007", "reconnect for every task"),
            ({"broker_transport_options": {}}, "sagas.W004", "socket_timeout and no socket_con"),
            (
                {"broker_transport_options": {"socket_timeout": 5}},
                "sagas.W004",
                "has no socket_connect_timeout:",
            ),
            ({"broker_write_url": "memory://"}, "sagas.W002", "memory://, which forgets"),
            ({"worker_pool": "solo"}, "sagas.W010", "cannot stop a handler"),
            ({"broker_write_url": "filesystem://"}, "sagas.W002", "filesystem://, which forgets"),
        ],
    )
    def test_a_bad_celery_setting_has_an_id_and_a_cure(
        self, celery: dict[str, Any], problem: str, words: str
    ) -> None:
        with production(celery=celery):
            messages = found()
        assert set(messages) == {problem}
        assert words in messages[problem].msg
        assert messages[problem].hint

    @pytest.mark.parametrize(
        ("database", "problem"),
        [
            ({"ENGINE": "django.db.backends.sqlite3"}, "sagas.W001"),
            ({"CONN_MAX_AGE": 0}, "sagas.W008"),
            ({"CONN_HEALTH_CHECKS": False}, "sagas.W009"),
            ({"OPTIONS": {"isolation_level": 3}}, "sagas.W016"),
        ],
    )
    def test_a_bad_database_setting_has_an_id_and_a_cure(
        self, database: dict[str, Any], problem: str
    ) -> None:
        with production(database=database):
            messages = found()
        assert set(messages) == {problem}
        assert messages[problem].hint

    def test_a_queue_that_nobody_declared_where_none_is_made_has_an_id_and_a_cure(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checks.broker, "_queues", lambda: [("shop.Order.charge", "typo")])
        configure({"task_create_missing_queues": False})
        try:
            with production():
                messages = found()
        finally:
            configure({"task_create_missing_queues": True})
        assert "'typo'" in messages["sagas.E018"].msg
        assert "shop.Order.charge" in messages["sagas.E018"].msg

    def test_connections_kept_for_ever_are_fine(self) -> None:
        with production(database={"CONN_MAX_AGE": None, "ATOMIC_REQUESTS": True}):
            assert found() == {}

    def test_rabbitmq_needs_no_redis_options(self) -> None:
        with production(
            celery={"broker_write_url": "amqp://localhost", "broker_transport_options": {}}
        ):
            assert found() == {}


class TestARemoteStep:
    """What is checked of a step that another code base does."""

    @pytest.fixture(autouse=True)
    def _declared(self) -> None:
        class Charged(Saga[int]):
            @remote("payments.charge", queue="theirs", time_limit=7000)
            def charge(self) -> list[int]:
                return [1]

            @charge.remote_compensation("payments.refund", queue="theirs-too", time_limit=7000)
            def refund(self, _: None) -> list[int]:
                return [1]

    def test_goes_to_queues_that_are_declared_where_none_is_made(self) -> None:
        configure({"task_create_missing_queues": False})
        try:
            told = {problem.msg for problem in checks.broker.check_queues()}
        finally:
            configure({"task_create_missing_queues": True})
        assert any("the task payments.charge of " in text and "'theirs'" in text for text in told)
        assert any(
            "payments.refund of the comp" in text and "'theirs-too'" in text for text in told
        )

    def test_may_take_longer_than_redis_waits_for_a_worker_of_ours(self) -> None:
        with production(celery={"broker_transport_options": {"visibility_timeout": 600}}):
            assert "sagas.W005" not in found()


class TestVisibilityTimeout:
    @pytest.mark.parametrize(("visibility", "warned"), [(600, False), (599, True)])
    def test_outlasts_the_longest_step_and_compensation(
        self, visibility: int, *, warned: bool
    ) -> None:
        class Pay(Saga[int]):
            @step(time_limit=10)
            def charge(self) -> int:
                return 1

            @charge.compensation(time_limit=600)
            def refund(self, result: int | None) -> None: ...

            @step(time_limit=20, pivot=True)
            def ship(self) -> None: ...

        options = {**REDIS_OPTIONS, "visibility_timeout": visibility}
        with production(celery={"broker_transport_options": options}):
            messages = found()
        assert ("sagas.W005" in messages) is warned
        if warned:
            assert "Pay.charge may run for 600 s" in messages["sagas.W005"].msg

    def test_is_an_hour_by_default_on_redis(self) -> None:
        class Pay(Saga[int]):
            @step(time_limit=3601, pivot=True)
            def charge(self) -> None: ...

        with production():
            assert "visibility_timeout is 3600 s" in found()["sagas.W005"].msg


DJANGOS_POOL = {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "OPTIONS": {"pool": True}}
MANY = {**REDIS_OPTIONS, "max_connections": 100}


class TestPools:
    """What follows -P is not seen by a check: a worker says the same at its start."""

    @pytest.mark.parametrize("pool", ["threads", "gevent"])
    def test_threads_and_greenlets_that_share_djangos_pool_are_fine(self, pool: str) -> None:
        celery = {
            "worker_pool": pool,
            "CELERY_DB_REUSE_MAX": None,
            "broker_transport_options": MANY,
        }
        with production(celery=celery, database=DJANGOS_POOL):
            messages = found()
        assert set(messages) == {"sagas.W010"}
        assert "self.heartbeat()" in (messages["sagas.W010"].hint or "")

    @pytest.mark.parametrize(
        ("celery", "database", "problem", "words"),
        [
            ({"worker_pool": "eventlet"}, {}, "sagas.E022", "stops the worker, its leases too"),
            ({"worker_pool": "gevent"}, {}, "sagas.E024", "too many clients"),
            (
                {"worker_pool": "gevent", "CELERY_DB_REUSE_MAX": None},
                {"CONN_MAX_AGE": 0},
                "sagas.W013",
                "each task opens a connection",
            ),
            ({"worker_pool": "threads"}, DJANGOS_POOL, "sagas.W012", "keeps what another task"),
            (
                {"worker_pool": "threads", "CELERY_DB_REUSE_MAX": None},
                {**DJANGOS_POOL, "CONN_MAX_AGE": 600},
                "sagas.E019",
                "both set",
            ),
            ({"worker_pool": "prefork"}, DJANGOS_POOL, "sagas.W011", "shares it with nobody"),
            (
                {"worker_pool": "threads", "broker_transport_options": REDIS_OPTIONS},
                {},
                "sagas.W014",
                "allows 10 connections to Redis",
            ),
        ],
    )
    def test_a_pool_that_is_connected_badly_is_told_with_what_breaks(
        self, celery: dict[str, Any], database: dict[str, Any], problem: str, words: str
    ) -> None:
        with production(celery={"broker_transport_options": MANY, **celery}, database=database):
            messages = found()
        assert set(messages) - {"sagas.W010"} == {problem}
        assert words in messages[problem].msg
        assert messages[problem].hint
        assert isinstance(messages[problem], Error) is problem.startswith("sagas.E")

    def test_a_missing_driver_of_the_pool_is_an_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checks.pools, "find_spec", lambda _: None)
        with production(celery={"CELERY_DB_REUSE_MAX": None}, database=DJANGOS_POOL):
            assert "psycopg[pool]" in (found()["sagas.E023"].hint or "")

    @pytest.mark.parametrize("name", ["prefork", "threads", "solo", "gevent", "eventlet"])
    def test_the_class_that_a_worker_has_is_known_as_its_name_is(self, name: str) -> None:
        module = {"threads": "thread"}.get(name, name)
        pool = type("TaskPool", (), {"__module__": f"celery.concurrency.{module}"})
        assert kind_of(pool) == kind_of(name) == name
        assert kind_of(f"celery.concurrency.{module}:TaskPool") == name

    def test_a_worker_judges_its_own_pool(self, caplog: pytest.LogCaptureFixture) -> None:
        with production(celery={"CELERY_DB_REUSE_MAX": 1000}):
            tell_of_pool("celery.concurrency.gevent:TaskPool", 100)
        told = [record for record in caplog.records if record.name == "sagas.worker"]
        assert [record.levelname for record in told] == ["ERROR", "WARNING"]
        assert "too many clients" in told[0].getMessage()
        assert 'OPTIONS["pool"]' in told[0].getMessage()


class TestRegistration:
    def test_every_check_of_the_package_runs_by_its_tag(self) -> None:
        tagged = {
            getattr(check, "__name__", "")
            for check in check_registry.get_checks(include_deployment_checks=True)
            if checks.TAG in getattr(check, "tags", ())
        }
        assert tagged >= {name for name in vars(checks) if name.startswith("check_")}


PROJECT = """
SECRET_KEY = "x"
INSTALLED_APPS = [*%s, "django.contrib.contenttypes", "django.contrib.auth", "sagas"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
APPLICATION = """
from celery import Celery

app = Celery("shop", broker="redis://broker.example:6379/1")
"""


def check_project(place: Path, init: str, *, apps: Sequence[str] = ()) -> str:
    """Return what ``django check`` says of a project whose package begins with ``init``."""
    package = place / "shop"
    package.mkdir()
    (package / "__init__.py").write_text(init)
    (package / "celery.py").write_text(APPLICATION)
    (package / "settings.py").write_text(PROJECT % list(apps))
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings",
        "PYTHONPATH": f"{place}:{Path.cwd()}",
    }  # fmt: skip
    command = [sys.executable, "-m", "django", "check", "--tag", "sagas"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


class TestApplication:
    def test_a_process_that_imports_none_of_the_project_is_told_where_its_messages_go(
        self, tmp_path: Path
    ) -> None:
        said = check_project(tmp_path, "")
        assert "sagas.W020" in said
        assert "amqp://guest:**@localhost:5672//" in said
        assert "from .celery import app as celery_app" in said

    def test_a_process_that_uses_celery_before_is_told_too(self, tmp_path: Path) -> None:
        init = "from celery import current_app; current_app.conf.broker_url\n"
        said = check_project(tmp_path, f"{init}from .celery import app\n")
        assert "sagas.W020" in said

    def test_the_usual_import_is_enough(self, tmp_path: Path) -> None:
        said = check_project(tmp_path, "from .celery import app as celery_app\n")
        assert "no issues" in said


class TestHeaders:
    @pytest.mark.parametrize("path", ["no.such.module", "sagas.no_such_name", "sagas.conf.__doc__"])
    def test_a_path_that_names_no_function_is_an_error(self, path: str) -> None:
        with override_settings(SAGAS={"MESSAGE_HEADERS": path}):
            assert "sagas.E021" in found(deploy=False)

    def test_a_path_that_names_a_function_is_fine(self) -> None:
        with override_settings(SAGAS={"MESSAGE_HEADERS": "os.getcwd"}):
            assert "sagas.E021" not in found(deploy=False)


class TestTenants:
    @pytest.mark.parametrize("name", ["sagas", "sagas.apps.SagasConfig"])
    @pytest.mark.parametrize("shared", [[], ["sagas"]])
    def test_sagas_in_the_schemas_of_tenants_are_an_error(
        self, name: str, shared: list[str]
    ) -> None:
        with tenants(SHARED_APPS=["django_tenants", *shared], TENANT_APPS=[name]):
            assert "sagas.E020" in found(deploy=False)

    def test_sagas_in_the_public_schema_alone_are_fine(self) -> None:
        with tenants(SHARED_APPS=["django_tenants", "sagas"], TENANT_APPS=["shop"]):
            assert "sagas.E020" not in found(deploy=False)


@contextmanager
def tenants(**placed: Any) -> Iterator[None]:
    """Settings of django-tenants, which need not be installed to be looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "INSTALLED_APPS", ["django_tenants", *settings.INSTALLED_APPS])
        for name, apps in placed.items():
            patch.setattr(settings, name, apps, raising=False)
        yield
