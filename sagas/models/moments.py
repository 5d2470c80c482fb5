"""Moments that the rows hold, with their zone: compared in UTC, shown in the project's zone.

With ``USE_TZ = False`` what Django reads has no zone. From PostgreSQL it is the time of ``TIME_ZONE``;
SQLite knows no zones, and its clock, by which rows are written, is that of UTC.
"""

from datetime import UTC, datetime, tzinfo

from django.apps import apps
from django.conf import settings
from django.db import connections, router
from django.utils import timezone


SECONDS = "%Y-%m-%d %H:%M:%S"
CLOCK = "%H:%M:%S"


def now() -> datetime:
    """Return this moment, in UTC."""
    return datetime.now(UTC)


def aware(moment: datetime) -> datetime:
    """Return a moment of a row in UTC: two such can be subtracted."""
    if timezone.is_naive(moment):
        moment = moment.replace(tzinfo=UTC if _is_in_utc() else _zone())
    return moment.astimezone(UTC)


def stored(moment: datetime) -> datetime:
    """Return a moment that a caller gives as a row would hold it, to compare columns with."""
    if timezone.is_naive(moment):
        moment = moment.replace(tzinfo=_zone())
    if settings.USE_TZ:
        return moment
    return moment.astimezone(UTC if _is_in_utc() else _zone()).replace(tzinfo=None)


def shown(moment: datetime) -> datetime:
    """Return a moment of a row in the zone of whoever looks at it."""
    if settings.USE_TZ:
        return timezone.localtime(moment)
    return aware(moment).astimezone(_zone())


def format_moment(moment: datetime | None, form: str = SECONDS) -> str:
    """Return a moment of a row as text, with its zone: in UTC, or with ``USE_TZ = False`` in the project's."""
    if moment is None:
        return ""
    if settings.USE_TZ:
        return f"{aware(moment):{form}} UTC"
    local = shown(moment)
    return f"{local:{form}} {settings.TIME_ZONE or local.tzname()}"


def _zone() -> tzinfo:
    """Return the project's zone, which without ``TIME_ZONE`` is the machine's."""
    if settings.TIME_ZONE:
        return timezone.get_default_timezone()
    return datetime.now().astimezone().tzinfo or UTC


def _is_in_utc() -> bool:
    """Whether the rows' database has no zones."""
    runs = apps.get_model("sagas", "SagaRun")
    return connections[router.db_for_write(runs)].vendor == "sqlite"
