"""A process of a project with ``USE_TZ = False``: runs sagas, opens every page, prints what it saw.

A process of its own, because connections are made for one setting or the other.
"""

import json
import sys
from datetime import datetime, timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import django


if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> dict[str, Any]:
    """Let sagas reach every state of which a time is told, and read what is said of them."""
    from django.contrib.auth.models import User  # noqa: PLC0415 after django.setup()
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import setup_test_environment  # noqa: PLC0415

    from sagas import operations, retention, start_saga  # noqa: PLC0415
    from sagas.engine import dispatch  # noqa: PLC0415
    from sagas.engine.recover import sweep  # noqa: PLC0415
    from sagas.exceptions import ActionNotAllowed  # noqa: PLC0415
    from sagas.models import SagaRun  # noqa: PLC0415
    from sagas.testing import run_saga  # noqa: PLC0415
    from tests.driving import drive  # noqa: PLC0415
    from tests.traced import Diamond, Five, Script  # noqa: PLC0415

    setup_test_environment()
    with dispatch.nothing_is_sent():
        runs = {
            "completed": run_saga(start_saga(Diamond, Script(), key="completed")),
            "compensated": run_saga(start_saga(Five, Script({"c": "bug"}), key="compensated")),
            "dead": run_saga(start_saga(Five, Script({"c": "bug", "undo_b": "bug"}), key="dead")),
            "waiting": run_saga(start_saga(Five, Script({"b": "wait=600"}), key="waiting")),
            "between": drive(
                start_saga(Five, Script({"a": "network"}), key="between"), skip_backoff=False
            ),
            "paused": operations.pause_saga(
                start_saga(Five, Script(), key="paused"), reason="r", actor="somebody"
            ),
        }
        sweep(worker="w")
        User.objects.create_superuser("root", password="x")
        client = Client()
        client.force_login(User.objects.get())
        root = "/admin/sagas/sagarun/"
        verbs = {"waiting": "complete_step/b", "dead": "retry", "paused": "resume"}
        pages = {"list": client.get(root)}
        pages |= {name: client.get(f"{root}{run.pk}/change/") for name, run in runs.items()}
        pages |= {f"{n} {v}": client.get(f"{root}{runs[n].pk}/{v}/") for n, v in verbs.items()}
        refusals = []
        attempts: list[Callable[[], object]] = [
            lambda: operations.pause_saga(runs["paused"], reason="r"),
            lambda: operations.fail_step(runs["compensated"], "c", error="e", reason="r"),
        ]
        for attempt in attempts:
            try:
                attempt()
            except ActionNotAllowed as error:
                refusals.append(str(error))
        operations.preview_compensation(runs["waiting"])
        hour = timedelta(hours=1)
        return {
            "now": datetime.now().isoformat(),  # noqa: DTZ005 as such a project tells the time
            "states": {name: run.state for name, run in runs.items()},
            "explained": {name: run.explain() for name, run in runs.items()},
            "pages": {name: page.status_code for name, page in pages.items()},
            "html": {name: page.content.decode() for name, page in pages.items()},
            "refusals": refusals,
            "shown": said("show", "dead"),
            "json": json.loads(said("show", "dead", "--json")),
            "listed": said("list"),
            "doctor": json.loads(said("doctor", "--json")),
            "stale": {
                str(past): SagaRun.objects.stale(datetime.now() - past * hour).count()  # noqa: DTZ005
                for past in (0, 1)
            },
            "purged": [
                sum(retention.purge(datetime.now() - hour)),  # noqa: DTZ005
                said("purge", "--older-than", "1h"),
                sum(retention.purge(datetime.now())),  # noqa: DTZ005
            ],
        }


def said(*arguments: str) -> str:
    """Return what ``manage.py saga`` prints."""
    from django.core.management import call_command  # noqa: PLC0415 after django.setup()

    out = StringIO()
    call_command("saga", *arguments, stdout=out)
    return out.getvalue()


if __name__ == "__main__":
    django.setup()
    json.dump(main(), sys.stdout)
