"""The example project's settings, with the tests' own apps."""

import json
import os

from config.settings import *  # noqa: F403


INSTALLED_APPS = [*INSTALLED_APPS, "tests.flows", "tests.faults.crashes"]  # noqa: F405

if os.environ.get("SAGAS_TEST_QUEUES"):
    steps, undo = os.environ["SAGAS_TEST_QUEUES"].split(",")
    SAGAS = {**SAGAS, "STEP_QUEUE": steps, "COMPENSATION_QUEUE": undo}  # noqa: F405

if os.environ.get("SAGAS_TEST_SETTINGS"):
    SAGAS = {**SAGAS, **json.loads(os.environ["SAGAS_TEST_SETTINGS"])}
