"""The dict ``SAGAS``."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from sagas.checks.tag import TAG
from sagas.conf import SagaSettings, saga_settings
from sagas.exceptions import SagaConfigurationError


@register(TAG)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Report what is wrong in ``SAGAS``."""
    try:
        conf = saga_settings()
    except SagaConfigurationError as error:
        hint = "Correct SAGAS in the Django settings; sagas/conf.py lists every key."
        return [Error(str(error), hint=hint, id="sagas.E001")]
    return [*_lease_problems(conf), *_header_problems(conf)]


def _header_problems(conf: SagaSettings) -> Iterator[CheckMessage]:
    try:
        found = import_string(conf.MESSAGE_HEADERS) if conf.MESSAGE_HEADERS else repr
    except ImportError as error:
        found = error
    if not callable(found):
        yield Error(
            f"SAGAS['MESSAGE_HEADERS'] names no function, so that no step is ever sent: {found}.",
            hint="Set it to the dotted path of a function (run, step) that returns a dict of texts.",
            id="sagas.E021",
        )


def _lease_problems(conf: SagaSettings) -> Iterator[CheckMessage]:
    for name in ("LEASE_SECONDS", "SUSPECT_LEASE_SECONDS"):
        if getattr(conf, name) < 2 * conf.LEASE_RENEWAL_SECONDS:
            yield Error(
                f"SAGAS[{name!r}] is shorter than two renewals: living attempts would be given up.",
                hint=f"Set it to {2 * conf.LEASE_RENEWAL_SECONDS:g} or more,"
                " or lower LEASE_RENEWAL_SECONDS.",
                id="sagas.E014",
            )
