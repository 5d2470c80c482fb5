"""Fixtures of the integration tests."""

from typing import Any

import pytest


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tasks whose messages were sent; nothing reaches a broker."""
    names: list[str] = []

    def publish(message: Any) -> bool:
        names.append(str(message.task))
        return True

    monkeypatch.setattr("sagas.dispatch._publisher.publish", publish)
    return names
