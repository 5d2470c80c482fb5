"""The payments team's Celery application. It knows neither Django nor sagas.

``celery -A examples.booking.remote_payments worker -Q booking.payments``
"""

import os

from celery import Celery

from examples.booking import world


# The tests import it beside the project's own application, which is to stay the current one.
app = Celery("payments", broker=os.environ.get("SAGAS_BROKER_URL"), set_as_current=False)
app.conf.update(
    task_default_queue="booking.payments",
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="booking.charge")
def charge(*, trip_id: str, cents: int, key: str) -> dict[str, object]:
    """Take the money, once per key."""
    world.do(f"payment of {trip_id}", key=key)
    return {"reference": f"P-{trip_id}", "cents": cents}


@app.task(name="booking.refund")
def refund(*, trip_id: str, key: str) -> None:
    """Give back what was taken by this key, and see to it that nothing is any more."""
    world.undo(f"payment of {trip_id}", key=key)
