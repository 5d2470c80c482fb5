"""Finding the run that an operator names."""

from uuid import UUID

from django.core.management.base import CommandError

from sagas.models import SagaRun
from sagas.texts import is_storable


def find_run(name: str) -> SagaRun:
    """Return the run with this id or key.

    Raises:
        CommandError: there is none, or more than one saga uses the key.
    """
    try:
        found = SagaRun.objects.filter(pk=UUID(name))
    except ValueError:
        found = SagaRun.objects.filter(key=name) if is_storable(name) else SagaRun.objects.none()
    runs = list(found[:10])
    if not runs:
        raise CommandError(f"No saga has the id or key {name!r}.")
    if len(runs) > 1:
        ids = "\n".join(f"  {run.pk}  {run.label}" for run in runs)
        raise CommandError(f"Several sagas have the key {name!r}; name one by its id:\n{ids}")
    return runs[0]
