"""Fixtures of the unit tests."""

from collections.abc import Iterator

import pytest

from sagas.definitions import registry


@pytest.fixture
def isolated_registry() -> Iterator[None]:
    """Sagas that a test declares are forgotten after it."""
    with registry.isolated():
        yield
