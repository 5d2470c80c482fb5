"""Which database holds the rows."""

from django.db import router

from sagas.models import SagaRun


def saga_database() -> str:
    """Return the alias that saga rows are written to, as the project's routers say."""
    return router.db_for_write(SagaRun)
