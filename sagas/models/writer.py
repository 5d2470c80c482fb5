"""Rows are read where they are written."""

from typing import Any, TypeVar

from django.db import models, router


ModelT = TypeVar("ModelT", bound=models.Model)


class WriterQuerySet(models.QuerySet[ModelT]):
    """Reads from the database that is written to, whatever the project's routers say of reading.

    A decision is made from rows that its own transaction has changed or locked, and whoever asks how
    a saga stands wants to know it; a replica says neither. ``using("replica")`` still reads from one.
    """

    @property
    def db(self) -> Any:
        """The alias that a query of this set goes to."""
        own: Any = self  # whose stubs do not know what Django's own property reads
        return own._db or router.db_for_write(self.model, **own._hints)  # noqa: SLF001
