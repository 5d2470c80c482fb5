"""The dict ``SAGAS``."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register

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
    return list(_lease_problems(conf))


def _lease_problems(conf: SagaSettings) -> Iterator[CheckMessage]:
    for name in ("LEASE_SECONDS", "SUSPECT_LEASE_SECONDS"):
        if getattr(conf, name) < 2 * conf.LEASE_RENEWAL_SECONDS:
            yield Error(
                f"SAGAS[{name!r}] is shorter than two renewals: living attempts would be given up.",
                hint=f"Set it to {2 * conf.LEASE_RENEWAL_SECONDS:g} or more,"
                " or lower LEASE_RENEWAL_SECONDS.",
                id="sagas.E014",
            )
