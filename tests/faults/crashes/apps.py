"""The app of the crash matrix."""

import os
from pathlib import Path

from django.apps import AppConfig


class CrashesConfig(AppConfig):
    """Holds no models; its sagas are discovered as any app's are."""

    name = "tests.faults.crashes"
    label = "crashes"

    def ready(self) -> None:
        """Wrap the engine in worker processes that a crash test started."""
        folder = os.environ.get("SAGAS_TEST_FAULTS")
        if folder:
            from tests.faults.crashes import points, wrapping  # noqa: PLC0415 need the models

            points.arm(Path(folder))
            wrapping.wrap_engine()
