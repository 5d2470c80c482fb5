"""The app of the acceptance tests' sagas."""

import os
from typing import Any

from celery import current_app
from celery.signals import before_task_publish, task_postrun
from django.apps import AppConfig

from sagas.signals import saga_finished
from tests.flows import ledger


class FlowsConfig(AppConfig):
    """Holds no models; its sagas are discovered as any app's are."""

    name = "tests.flows"
    label = "flows"

    def ready(self) -> None:
        """Double every message of this process, and every callback, or tell of ends, where a test asks for it."""
        if os.environ.get("SAGAS_TEST_DOUBLE_MESSAGES"):
            before_task_publish.connect(double)
            task_postrun.connect(call_both_doors)
        if os.environ.get("SAGAS_TEST_TELL_ENDS"):
            saga_finished.connect(tell_of_end)


def double(sender: str, body: Any, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
    """Publish the same message once more."""
    if headers.get("doubled"):
        return
    args, kwargs, embed = body
    current_app.send_task(
        sender,
        args=args,
        kwargs=kwargs,
        task_id=headers["id"],
        queue=routing_key,
        headers={"doubled": True},
        link_error=embed.get("errbacks"),
        ignore_result=True,
    )


def call_both_doors(args: list[Any], task: Any, **_: Any) -> None:
    """Call both callbacks for every step, whatever came of it."""
    if task.name.startswith(("sagas.flows", "sagas.shop")):
        step_id, fence = args
        for door in ("sagas.step_succeeded", "sagas.step_failed"):
            current_app.send_task(door, args=(step_id, fence + 1), queue="saga.coordinator")


def tell_of_end(run: Any, state: str, **_: Any) -> None:
    """Write into the ledger of a run that it has ended."""
    ledger.write(run.input["ledger"], f"finished {state}", "told", f"{run.pk}:finished", 0)
