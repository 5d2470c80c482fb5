"""Sagas whose steps another code base does, and a stand-in for it that answers by the callbacks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from sagas import Saga, remote, start_saga, step
from sagas.engine.message import Message
from sagas.exceptions import RequestNotSent, StepTimeout
from sagas.models import SagaRun
from sagas.worker import tasks
from tests.driving import drive
from tests.traced import CALLS


if TYPE_CHECKING:
    from celery import Signature


@dataclass(frozen=True)
class Payment:
    """What the charge returns."""

    id: str
    cents: int


class Charge(TypedDict):
    """What the charge is given."""

    order: str
    key: str


@dataclass(frozen=True)
class Order:
    """What a saga is about, and whether its last step fails."""

    name: str = "order-1"
    fails: bool = True


class Remote(Saga[Order]):
    """reserve → charge (remote, undone by a remote task) → ship."""

    class Meta:
        label = "tests.Remote"

    @step
    def reserve(self) -> None:
        CALLS.append("reserve")

    @reserve.compensation
    def release(self, _: None) -> None:
        CALLS.append("release")

    @remote("payments.charge", queue="payments", result=Payment, max_retries=1, time_limit=60)
    def charge(self) -> Charge:
        CALLS.append("charge")
        return {"order": self.input.name, "key": self.idempotency_key}

    @charge.remote_compensation("payments.refund", queue="payments", max_retries=1)
    def refund(self, payment: Payment | None) -> tuple[str | None, str]:
        CALLS.append("refund")
        return payment.id if payment else None, self.undoing.idempotency_key

    @step
    def ship(self) -> None:
        CALLS.append("ship")
        if self.input.fails:
            raise ValueError("no lorry")

    ship.no_compensation("it is the last")


class AskedRemote(Saga[Order]):
    """Its remote step is asked about, and once more when it was mute."""

    class Meta:
        label = "tests.AskedRemote"

    @remote("payments.charge", queue="payments", result=Payment, autoretry_for=[StepTimeout])
    def charge(self) -> list[str]:
        return [self.input.name]

    @charge.compensation
    def refund(self, payment: Payment | None) -> None:
        CALLS.append(f"refund {payment and payment.id}")

    @charge.reconcile
    def find(self) -> Payment | None:
        CALLS.append("find")
        return None


@dataclass
class Participant:
    """The other code base: what was sent to it, and its answers."""

    sent: list[Message] = field(default_factory=list)
    refuses: RequestNotSent | None = None
    known: BaseException | None = None
    """What the result backend says of a failure."""

    then: Callable[[], object] | None = None
    """Done at once when a request was taken, before its attempt waits."""

    def take(self, message: Message) -> None:
        """Stand for the broker."""
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(message)
        if self.then is not None:
            self.then()

    def returns(self, result: object, request: int = -1) -> str:
        """Call back as a worker does whose task returned."""
        callback: Signature[Any] | None = self.sent[request].callback
        assert callback is not None
        assert (callback.task, callback.immutable) == ("sagas.remote_succeeded", False)
        return str(tasks.remote_succeeded(result, *callback.args))

    def fails(self, error: BaseException | None = None, request: int = -1) -> str:
        """Call back as a worker does whose task raised, or was lost."""
        self.known = error
        callback = self.sent[request].error_callback
        assert (callback.task, callback.immutable) == ("sagas.remote_failed", True)
        return str(tasks.remote_failed(*callback.args))


def started(saga: type[Saga[Order]] = Remote, **order: Any) -> SagaRun:
    """Return a run that waits for its charge."""
    return drive(start_saga(saga, Order(**order), key="k"))
