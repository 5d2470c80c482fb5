"""What a step's message says beside its ids: our two headers, and those that the project adds."""

from django.utils.module_loading import import_string

from sagas.conf import saga_settings
from sagas.models import SagaRun, StepRun


def headers_of(run: SagaRun, step: StepRun) -> dict[str, str]:
    """Return the headers.

    Called when the message is sent: what the project's function raises keeps this message back, and
    rolls no transaction back.
    """
    ours = {"saga_id": str(run.pk), "saga_step": step.name}
    path = saga_settings().MESSAGE_HEADERS
    return {**import_string(path)(run, step), **ours} if path else ours
