"""What a worker has loaded is frozen before its pool forks, so that the children share it (R124)."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from celery.signals import worker_init
from django.test import override_settings

from sagas.worker.bootsteps import share_memory_with_children


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_a_worker_freezes_what_it_has_loaded() -> None:
    share_memory_with_children()
    assert gc.get_freeze_count() > 10_000


def test_every_worker_freezes_as_it_begins() -> None:
    # Sent for real, it would also have Celery take this process for a worker.
    connected: Any = worker_init
    assert share_memory_with_children in connected._live_receivers(None)


@override_settings(SAGAS={"SHARE_WORKER_MEMORY": False})
def test_a_worker_does_not_freeze_where_its_settings_say_no() -> None:
    before = gc.get_freeze_count()
    share_memory_with_children()
    assert gc.get_freeze_count() == before
