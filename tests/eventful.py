"""Three services that react to each other's events. What they do stands in the event, and in ``WORLD``."""

from dataclasses import dataclass, field, replace

from django.contrib.auth.models import Group

from sagas import Event, PermanentError, Wait, on_event, publish
from sagas.exceptions import FailureEvent


WORLD: list[str] = []
"""What stands outside of the database, in the order in which it came to be."""


@dataclass(frozen=True)
class Order:
    """An order; ``script`` says what reactions do."""

    number: int
    script: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """What a reaction returns."""

    of: str


def act(event: Event[Order], name: str) -> Receipt:
    """Do it, and obey the script."""
    WORLD.append(name)
    for word in event.data.script.get(name, "").split(","):
        if word == "network" and event.attempt == 1:
            raise ConnectionError(name)
        if word == "permanent":
            raise PermanentError(name, code="REFUSED")
        if word == "wait":
            raise Wait(name)
        if word == "bad":
            publish("Paid", {"number": "no number"})
    return Receipt(name)


@on_event("Ordered", queue="stock")
def reserve(event: Event[Order]) -> Receipt:
    """Publish before the effect: what comes of the attempt decides whether anybody hears of it."""
    publish("Reserved", replace(event.data, number=event.data.number + 1))
    return act(event, "reserve")


@reserve.compensation
def release(event: Event[Order], receipt: Receipt | None) -> None:
    WORLD.append(f"release {event.data.number} ({receipt.of if receipt else None})")


@on_event("Reserved", queue="money", max_retries=0)
def charge(event: Event[Order]) -> Receipt:
    receipt = act(event, "charge")
    publish("Paid", event.data)
    return receipt


@charge.compensation
def refund(event: Event[Order], _: Receipt | None) -> None:
    WORLD.append(f"refund {event.data.number}")


@charge.reconcile
def find_charge(event: Event[Order]) -> Receipt | None:
    publish("Paid", event.data)
    return Receipt("found")


@on_event("Reserved", critical=False)
def watch(event: Event[Order]) -> None:
    act(event, "watch")


watch.no_compensation("reads only")


@watch.condition
def is_watched(event: Event[Order]) -> bool:
    return event.data.script.get("watch") != "no"


@on_event("Paid", queue="parcels")
def ship(event: Event[Order]) -> Receipt:
    if event.data.script.get("ship") == "event":
        raise FailureEvent("NoCarrier", event.data, "no carrier")
    receipt = act(event, "ship")
    publish("Fulfilled", event.data)
    return receipt


ship.no_compensation("it is the last")


@on_event("Circle")
def turn(event: Event[int]) -> None:
    WORLD.append(f"turn {event.data}")
    publish("Circle", event.data + 1)


@turn.compensation
def turn_back(event: Event[int], _: None) -> None:
    WORLD.append(f"turn back {event.data}")


@on_event("Noted", atomic=True)
def note(event: Event[str]) -> None:
    """Write to the sagas' own database, and publish, or neither."""
    Group.objects.create(name=event.data)
    publish("Written", event.data)
    if event.data == "bad":
        raise PermanentError(event.data)


note.no_compensation("is kept")


@on_event("Listed")
def split(event: Event[list[str]]) -> None:
    for line in event.data:
        publish("Line", line, key=line)


split.no_compensation("only splits")


@on_event("Line")
def pick(event: Event[str]) -> str:
    if event.data == "bad":
        raise PermanentError(event.data)
    WORLD.append(f"pick {event.data}")
    return event.data


@pick.compensation
def put_back(event: Event[str], picked: str | None) -> None:
    WORLD.append(f"put back {event.data} ({picked})")
