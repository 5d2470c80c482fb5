"""Fixtures of the integration tests."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.traced import CALLS


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    """What the handlers of ``tests.traced`` note is of this test alone."""
    CALLS.clear()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks whose messages were sent; nothing reaches a broker."""
    names: list[str] = []

    def publish(message: Any) -> bool:
        names.append(str(message.task))
        return True

    def publish_all(many: Sequence[Any]) -> None:
        for message in many:
            publish(message)

    monkeypatch.setattr("sagas.engine.dispatch._publisher.publish", publish)
    monkeypatch.setattr("sagas.engine.dispatch._publisher.publish_all", publish_all)
    # Nor does what another test left in one say anything here.
    monkeypatch.setattr("sagas.engine.dispatch._publisher.is_empty", lambda _: True)
    return names
