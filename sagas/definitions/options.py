"""The options of a step and of a compensation. Their names are Celery's, with Celery's meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, Required, TypedDict

from sagas.definitions.rules import CELERY_RULES, FLAG, NAMES, TEXT, Rule, check_values, is_number
from sagas.definitions.snapshot import Snapshot
from sagas.exceptions import SagaDefinitionError


ExceptionTypes = tuple[type[Exception], ...] | list[type[Exception]]


class RetryKeywords(TypedDict, total=False):
    """What a step takes whoever does it, a worker or a remote task; durations are seconds."""

    priority: int | None
    """Of its message, where the broker knows priorities."""

    autoretry_for: ExceptionTypes
    """After these another attempt may help; it may have happened all the same."""

    dont_autoretry_for: ExceptionTypes
    """These are definite failures, although ``autoretry_for`` names a class above them."""

    max_retries: int
    """How many attempts may follow the first."""

    retry_backoff: bool | int
    """False: wait ``default_retry_delay``. True or n: wait 1, 2, 4 ... times 1 or n seconds."""

    retry_backoff_max: float
    """The longest wait that doubling comes to."""

    retry_jitter: bool
    """Whether a random part of that is waited, so that many do not come back at once."""

    default_retry_delay: float
    """The wait before each retry where there is no backoff."""

    time_limit: float
    """Of one attempt: then it is given up, and a prefork pool kills it."""

    timeout: float | None
    """The whole step, from its first attempt, retries included; later nothing is tried again."""

    on_unknown: Literal["undo", "hold"]
    """When nobody can tell whether it happened: ``undo`` it too, or ``hold`` the saga for a human."""


class CeleryKeywords(RetryKeywords, total=False):
    """What Celery's ``@task`` takes too."""

    queue: str | None
    """Where its message goes. None: ``SAGAS["STEP_QUEUE"]``, or ``SAGAS["COMPENSATION_QUEUE"]``."""

    soft_time_limit: float | None
    """Of one attempt: ``SoftTimeLimitExceeded`` is raised in the handler."""

    rate_limit: str | float | None
    """How many may begin in each worker, such as ``"50/s"``; kept by Celery, so never in place."""

    heartbeat_timeout: float | None
    """How long an attempt may go without ``self.heartbeat()`` before it is given up."""


class CompensationKeywords(CeleryKeywords, total=False):
    """What ``@step.compensation(...)`` takes."""

    atomic: bool
    """Whether it runs in the transaction of its outcome: exactly once, in the sagas' own database."""

    owner: str
    """Who is asked about it. A compensation that names nobody has its step's."""


class RemoteKeywords(RetryKeywords, total=False):
    """What a remote compensation takes, and a remote step too."""

    queue: Required[str]
    """That the workers of the other code base consume."""

    owner: str
    """Who is asked about it."""


@dataclass(frozen=True, kw_only=True)
class StoredOptions:
    """How a step is sent, retried and limited, as its row keeps it too. Durations are seconds.

    What each means is said by :class:`CeleryKeywords`.
    """

    queue: str | None = None
    priority: int | None = None
    max_retries: int = 3
    retry_backoff: bool | int = True
    retry_backoff_max: float = 100
    retry_jitter: bool = True
    default_retry_delay: float = 180
    time_limit: float = 300
    soft_time_limit: float | None = None
    rate_limit: str | None = None
    heartbeat_timeout: float | None = None
    on_unknown: str = "undo"

    @property
    def holds_unknown(self) -> bool:
        """Whether a human decides when nobody can tell whether it happened."""
        return self.on_unknown == "hold"

    def may_carry_on_to(self, following: "StoredOptions") -> bool:
        """Whether one message may carry a worker from a step with these to its only successor.

        Celery enforces the limits of a message for all that it does: so the successor must be at home
        on the same queue, want no limit of its own that Celery keeps by messages (``rate_limit``,
        ``soft_time_limit``), and not more time than the message gives.
        """
        return (
            (self.queue, self.priority) == (following.queue, following.priority)
            and following.rate_limit is None
            and self.soft_time_limit is None
            and following.soft_time_limit is None
            and following.time_limit <= self.time_limit
        )


@dataclass(frozen=True, kw_only=True)
class StepOptions(StoredOptions):
    """The same as it is declared. Exception classes stay in code, and the timeout is a column."""

    autoretry_for: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)
    dont_autoretry_for: tuple[type[Exception], ...] = ()
    timeout: float | None = None

    @classmethod
    def merged(cls, *layers: Mapping[str, object], place: str) -> "StepOptions":
        """Return the options of ``layers``, of which a later one wins.

        The layers may hold other keys too; they passed ``check_options`` before.

        Raises:
            SagaDefinitionError: two options contradict each other; it names ``place``.
        """
        merged: dict[str, Any] = {}
        for layer in layers:
            merged |= {name: value for name, value in layer.items() if name in CELERY_RULES}
        for name in ("autoretry_for", "dont_autoretry_for"):
            if name in merged:
                merged[name] = tuple(merged[name])
        if is_number(merged.get("rate_limit")):
            merged["rate_limit"] = f"{merged['rate_limit']}/s"
        if merged.get("timeout") is not None and "time_limit" not in merged:
            merged["time_limit"] = min(merged["timeout"], cls.time_limit)
        options = cls(**merged)
        if options.timeout is not None and options.time_limit > options.timeout:
            message = (
                f"{place}: time_limit ({options.time_limit} s) must not be above the timeout of the"
                f" whole step ({options.timeout} s)."
            )
            raise SagaDefinitionError(message)
        soft, hard = options.soft_time_limit, options.time_limit
        if soft is not None and soft >= hard:
            message = f"{place}: soft_time_limit ({soft} s) must be below time_limit ({hard} s)."
            raise SagaDefinitionError(message)
        return options

    def stored(self) -> dict[str, Any]:
        """Return those that a row keeps, by name."""
        return {field.name: getattr(self, field.name) for field in fields(StoredOptions)}

    def retries(self, error: type[BaseException]) -> bool:
        """Whether an error of this class is worth another attempt."""
        return issubclass(error, self.autoretry_for) and not self.spares(error)

    def spares(self, error: type[BaseException]) -> bool:
        """Whether an error of this class is never tried again."""
        return issubclass(error, self.dont_autoretry_for)


@dataclass(frozen=True, kw_only=True)
class StepPlan(StoredOptions, Snapshot):
    """What the row of a step, or of a compensation, keeps of its declaration."""

    owner: str = ""
    atomic: bool = False
    compensable_until: str | None = None
    """The step whose success ends the time in which this one is undone."""

    forward_only: bool = False
    """It stands behind a pivot, and nothing undoes it."""

    last: bool = False
    """Nothing comes after it but steps for which nobody waits."""

    child: str = ""
    """The label of the saga that it runs, or turns back, if it is one of its own."""

    reconcile: bool = False
    """Whether the outside system can be asked if it happened."""

    compensation: Mapping[str, Any] | None = None
    """The snapshot of its compensation's own plan, which becomes that row's as it is."""

    compensation_timeout: float | None = None
    """Its compensation's timeout, for that row's column; seconds."""

    declared: str = ""
    """The declared step that the row runs or undoes, where the row has another name."""

    saga: str = ""
    """The label of the saga that declares it, where that is not the run's."""

    computes_input: bool = False
    """Whether its input is computed and kept before its handler begins."""

    bound: bool = False
    """Whether its input was given by ``plan()``, and is in its row from the start."""


COMPENSATION_DEFAULTS: Mapping[str, object] = MappingProxyType({"max_retries": 5})
"""Where a compensation's library defaults differ from a step's: giving up costs a human."""

COMPENSATION_RULES: Mapping[str, Rule] = MappingProxyType(
    {**CELERY_RULES, "atomic": FLAG, "owner": TEXT}
)
STEP_DEFAULTS_RULES: Mapping[str, Rule] = MappingProxyType({**COMPENSATION_RULES, "critical": FLAG})
STEP_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **STEP_DEFAULTS_RULES,
        "pivot": FLAG,
        "wait": FLAG,
        "compensable_until": TEXT,
        "formerly": NAMES,
    }
)


def check_options(
    given: Mapping[str, object], *, place: str, rules: Mapping[str, Rule] = STEP_RULES
) -> Mapping[str, object]:
    """Return ``given``, which cannot be changed any more.

    Raises:
        SagaDefinitionError: an unknown option or a wrong value; it names ``place`` and the cure.
    """
    check_values(given, rules, place=place)
    return MappingProxyType(dict(given))
