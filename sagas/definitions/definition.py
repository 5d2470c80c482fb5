"""A saga as the engine runs it: everything that its class body said, checked and frozen."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, get_type_hints

from django.apps import apps

from sagas.definitions import graph
from sagas.definitions.annotations import codec_of, input_annotation
from sagas.definitions.context import SagaContext
from sagas.definitions.meta import RunPlan
from sagas.definitions.plan import Plan, PlanRow, planned_steps
from sagas.definitions.planning import rows_for
from sagas.definitions.problems import (
    Problem,
    limit_exceeds_saga_timeout,
    step_problems,
    unstorable,
)
from sagas.definitions.step_definition import StepDefinition
from sagas.definitions.templates import EmptyField, Template
from sagas.exceptions import (
    IdempotencyRequired,
    PayloadError,
    SagaDefinitionError,
    UnknownHandler,
)
from sagas.payloads import Codec, text_of


@dataclass(frozen=True, kw_only=True, eq=False)
class SagaDefinition:
    """What a saga class declares, at ``FulfilOrder.definition``."""

    saga: type[Any]
    root: type[SagaContext[Any]]
    """The generic base whose argument is the type of the input."""

    own_label: str | None
    version: int
    key_template: Template | None
    timeout: timedelta
    long_running: bool
    tag_templates: Mapping[str, Template]
    run_plan: RunPlan
    abstract: bool
    steps: tuple[StepDefinition, ...]
    """In declared order, inherited ones first."""

    has_plan: bool = False
    """Whether ``plan()`` says for each run which steps it has."""

    @property
    def label(self) -> str:
        """What rows and task names call this saga: ``Meta.label``, or app label and class name.

        Final when the app registry is ready.
        """
        if self.own_label is not None:
            return self.own_label
        return f"{app_label(self.saga.__module__)}.{self.saga.__name__}"

    @property
    def is_of_event(self) -> bool:
        """Whether its steps are the reactions to an event, which is published and not started."""
        return any(step.is_reaction for step in self.steps)

    def step(self, name: str) -> StepDefinition:
        """Return a step by its name, or by one that it had in code of before.

        Raises:
            UnknownHandler: this code has no such step.
        """
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(step.name for step in self.steps) or "none"
            message = f"{self.label} has no step {name!r} in this code; it has: {known}"
            raise UnknownHandler(message, step=name) from None

    def names(self) -> Collection[str]:
        """Return what rows may call its steps: their names, and those of before."""
        return self._by_name.keys()

    def current_name(self, name: str) -> str:
        """Return what this code calls a step of that name; the name itself where it knows none."""
        found = self._by_name.get(name)
        return name if found is None else found.name

    def row_name(self, name: str) -> str:
        """Return what this code calls a step, or one repetition of a step, of that name.

        Raises:
            UnknownHandler: this code has no such step.
        """
        declared, bracket, repetition = name.partition("[")
        return f"{self.step(declared).name}{bracket}{repetition}"

    def migrated(self, data: object, *, version: int) -> object:
        """Return the input that ``version`` of this saga stored, as this version would have stored it.

        Raises:
            PayloadError: ``migrate()`` raised.
        """
        if version >= self.version:
            return data
        try:
            # The row in memory stays as it is stored, for the next step that is run from it.
            return self.saga.migrate(version, deepcopy(data))
        except Exception as error:
            message = (
                f"migrate() of {self.label} cannot bring the input of version {version} to version"
                f" {self.version}: {type(error).__name__}: {text_of(error)}"
            )
            raise PayloadError(message) from error

    def load_input(self, data: object, *, version: int) -> Any:
        """Return the typed input of a run that ``version`` of this saga has stored.

        Raises:
            PayloadError: it does not fit the type that this code has, or ``migrate()`` raised.
        """
        data = self.migrated(data, version=version)
        return self.input_codec.load(data, what=f"the input of {self.label}")

    def key_for(self, saga_input: object) -> str:
        """Return the idempotency key that ``Meta.key`` gives to this input.

        Raises:
            IdempotencyRequired: there is no ``Meta.key``, or one of its fields is empty.
        """
        cure = "pass key= to start_saga()"
        if self.key_template is None:
            message = f"{self.label} has no Meta.key; declare one, or {cure}"
            raise IdempotencyRequired(message, location="transaction")
        try:
            return self.key_template.filled(saga_input)
        except EmptyField as error:
            message = f"{self.label}: {{{error}}} in Meta.key is empty for this input; {cure}"
            raise IdempotencyRequired(message, location="transaction") from error

    def tags_for(self, saga_input: object) -> dict[str, str]:
        """Return the tags that ``Meta.tags`` gives to this input; those with an empty field not."""
        return dict(self._filled_tags(saga_input))

    @cached_property
    def input_codec(self) -> Codec[Any]:
        """What carries the input to JSON and back.

        Raises:
            SagaDefinitionError: ``Saga[...]`` names no type, or one that cannot be stored.
        """
        annotation = input_annotation(self.saga, self.root)
        return codec_of(annotation, what=f"The input of {self.saga.__name__}, Saga[...],")

    def successors(self) -> dict[str, tuple[str, ...]]:
        """Return, by step, the steps that wait for it, in declared order."""
        return graph.successors({step.name: step.after for step in self.steps})

    @cached_property
    def plan(self) -> Plan:
        """All steps as declared; complete when the app registry is ready."""
        rows = [PlanRow(name=step.name, definition=step, after=step.after) for step in self.steps]
        return self._plan_of(rows)

    def plan_for(self, saga_input: Any) -> Plan:
        """Return what a run with this input is inserted by: all steps, or those that ``plan()`` yields.

        Raises:
            PlanError: ``plan()`` yields what cannot be a run of this saga.
            PayloadError: an input that it binds is not of the type of its step.
        """
        return self._plan_of(rows_for(self, saga_input)) if self.has_plan else self.plan

    def _plan_of(self, rows: Sequence[PlanRow]) -> Plan:
        return Plan(
            label=self.label,
            version=self.version,
            options=self.run_plan.snapshot(),
            timeout=self.timeout,
            steps=planned_steps(rows, in_place=self.run_plan.in_place),
        )

    def problems(self) -> list[Problem]:
        """Return what is wrong with this saga, seen whole; an empty list when it can be started."""
        return list(self._problems)

    @cached_property
    def _by_name(self) -> dict[str, StepDefinition]:
        formerly = {name: step for step in self.steps for name in step.formerly}
        return formerly | {step.name: step for step in self.steps}

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return (
            *step_problems(self.label, self.steps, plans=self.has_plan),
            *unstorable(self.label, lambda: self.input_codec),
            *self._template_problems(),
            *limit_exceeds_saga_timeout(self.label, self.steps, self.timeout.total_seconds()),
        )

    def _filled_tags(self, saga_input: object) -> Iterator[tuple[str, str]]:
        for name, template in self.tag_templates.items():
            try:
                yield name, template.filled(saga_input)
            except EmptyField:
                continue

    def _template_problems(self) -> Iterator[Problem]:
        known = _readable_from(self.saga, self.root)
        templates = {f"tags[{name!r}]": value for name, value in self.tag_templates.items()}
        if self.key_template is not None:
            templates["key"] = self.key_template
        for place, template in templates.items():
            for missing in sorted(template.first_attributes() - known) if known else ():
                yield Problem(
                    id="sagas.E009",
                    message=f"{self.label}: Meta.{place} reads {{input.{missing}}}, not in the input.",
                    hint="Name a field of the input's type.",
                )


def app_label(module: str) -> str:
    """Return the label of the app that holds a module, else its first package."""
    config = apps.get_containing_app_config(module) if apps.apps_ready else None
    return config.label if config else module.partition(".")[0]


def _readable_from(saga: type, root: type) -> set[str]:
    """Return what can be read from the input of a saga; empty where that cannot be judged."""
    try:
        annotation = input_annotation(saga, root)
        return (
            {*get_type_hints(annotation), *dir(annotation)}
            if inspect.isclass(annotation)
            else set()
        )
    except (SagaDefinitionError, NameError, TypeError):
        return set()
