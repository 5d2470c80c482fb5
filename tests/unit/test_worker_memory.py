"""What a worker has loaded is frozen before its pool forks, so that the children share it (R124)."""

import gc
from collections.abc import Iterator

import pytest
from celery.signals import worker_init
from django.test import override_settings


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_worker_freezes_what_it_has_loaded() -> None:
    worker_init.send(sender=None)
    assert gc.get_freeze_count() > 10_000


@override_settings(SAGAS={"SHARE_WORKER_MEMORY": False})
def test_unless_its_settings_say_no() -> None:
    before = gc.get_freeze_count()
    worker_init.send(sender=None)
    assert gc.get_freeze_count() == before
