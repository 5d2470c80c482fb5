"""A router that sends sagas to one of several databases, as a project with shards would."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


_alias: ContextVar[str | None] = ContextVar("shard", default=None)


@contextmanager
def routed_to(alias: str) -> Iterator[None]:
    """Keep the rows of sagas in this database within the block."""
    token = _alias.set(alias)
    try:
        yield
    finally:
        _alias.reset(token)


class Router:
    """What ``DATABASE_ROUTERS`` names."""

    def db_for_read(self, model: Any, **_: Any) -> str | None:
        return _alias.get() if model._meta.app_label == "sagas" else None

    db_for_write = db_for_read
