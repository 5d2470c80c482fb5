"""The example project's settings, with the tests' own apps."""

import json
import os

from config.settings import *  # noqa: F403


INSTALLED_APPS = [
    *INSTALLED_APPS,  # noqa: F405
    "tests.flows",
    "tests.faults.crashes",
    "tests.references",
]

# Every test of the admin makes a user, and a hash that resists guessing takes half a second.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if os.environ.get("SAGAS_TEST_CONNECTION"):
    DATABASES["default"].update(json.loads(os.environ["SAGAS_TEST_CONNECTION"]))  # noqa: F405

# A second database, for what a shard is: the router sends sagas there while a test says so.
_default = DATABASES["default"]  # noqa: F405
_tested = _default.get("TEST", {}).get("NAME", "test_sagas")
_shard = {
    **_default,
    "NAME": f"{_default['NAME']}_shard",
    # Its tables are made from the models at once: the migrations are tried on the other one.
    "TEST": {"NAME": f"{_tested}_shard", "MIGRATE": False},
}
DATABASES["shard"] = _shard  # noqa: F405
DATABASE_ROUTERS = ["tests.shards.Router"]

if os.environ.get("SAGAS_TEST_QUEUES"):
    steps, undo = os.environ["SAGAS_TEST_QUEUES"].split(",")
    SAGAS = {**SAGAS, "STEP_QUEUE": steps, "COMPENSATION_QUEUE": undo}  # noqa: F405

if os.environ.get("SAGAS_TEST_SETTINGS"):
    SAGAS = {**SAGAS, **json.loads(os.environ["SAGAS_TEST_SETTINGS"])}

if os.environ.get("SAGAS_TEST_DJANGO"):
    globals().update(json.loads(os.environ["SAGAS_TEST_DJANGO"]))
