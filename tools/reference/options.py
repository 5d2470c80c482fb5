"""``docs/reference/options.md``."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from sagas import Saga, step
from sagas.definitions import SagaDefinition, meta, registry
from sagas.definitions.options import (
    COMPENSATION_RULES,
    STEP_DEFAULTS_RULES,
    STEP_RULES,
    CeleryKeywords,
    CompensationKeywords,
    RetryKeywords,
)
from sagas.definitions.rules import Rule
from sagas.definitions.step import PlaceKeywords
from tools.reference import markdown
from tools.reference.source import sentences


INTRODUCTION = """
An option that is not known, or that has a value of another kind, is a `SagaDefinitionError` where the class is declared, with the name that was probably meant. Durations are
seconds, except where a `timedelta` is asked for.
"""

OF_STEPS = """
`@step(...)`. Besides these it takes `after`: a list of the steps that it waits for; without it, the one that is written above; `[]`, none. A step's own option wins
over `Meta.step_defaults`, and that over the default.
"""

OF_COMPENSATIONS = """
`@x.compensation(...)` takes the same, but for {others}. Neither `Meta.step_defaults` nor what its step says holds for it. Its defaults are
the same, but for {differences}: giving up costs a human.
"""

OF_SAGAS = (
    "`class Meta` in the body of a saga. `step_defaults` takes what a step does, but for {others}."
)


def page() -> str:
    """Return the page."""
    definition = _bare()
    (bare,) = definition.steps
    undo = bare.compensation
    assert undo is not None  # noqa: S101 declared below
    differences = [
        f"`{name}`, which is {_default(undo, name)}"
        for name in COMPENSATION_RULES
        if name != "owner" and _default(undo, name) != _default(bare, name)
    ]
    return markdown.page(
        "Options",
        "sagas/definitions",
        INTRODUCTION,
        "## Of a step",
        OF_STEPS,
        _table(
            STEP_RULES, {name: _default(bare, name) for name in STEP_RULES}, sentences_of_options()
        ),
        "## Of a compensation",
        OF_COMPENSATIONS.format(
            others=_others(COMPENSATION_RULES), differences=" and ".join(differences)
        ),
        "## Of a saga",
        OF_SAGAS.format(others=_others(STEP_DEFAULTS_RULES)),
        _table(meta.RULES, _meta_defaults(), sentences(meta.SagaMeta) | sentences(meta.RunPlan)),
    )


def _bare() -> SagaDefinition:
    """Return a saga that says nothing, whose options are therefore the defaults."""
    with registry.isolated():

        class Bare(Saga[str]):
            @step
            def act(self) -> None: ...

            @act.compensation
            def undo(self, _: None) -> None: ...

        return Bare.definition


def _default(declared: Any, name: str) -> str:
    value = getattr(declared.options if hasattr(declared.options, name) else declared, name)
    return _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return markdown.code(", ".join(item.__name__ for item in value) or "()")
    return markdown.code(value if isinstance(value, int | float | None) else repr(value))


def _meta_defaults() -> Mapping[str, str]:
    declared = (*fields(meta.SagaMeta), *fields(meta.RunPlan))
    return {field.name: _default_of_field(field) for field in declared}


def _default_of_field(field: "Field[Any]") -> str:
    if field.default is MISSING:
        return markdown.code("{}")
    value = field.default
    return markdown.code(value) if not isinstance(value, str) else markdown.code(repr(value))


def sentences_of_options() -> Mapping[str, str]:
    """Return what the keywords of ``@step`` say of themselves."""
    return {
        name: text
        for keywords in (RetryKeywords, CeleryKeywords, CompensationKeywords, PlaceKeywords)
        for name, text in sentences(keywords).items()
    }


def _others(taken: Mapping[str, Rule]) -> str:
    """Return the options of a step that are not taken."""
    *first, last = (markdown.code(name) for name in STEP_RULES if name not in taken)
    return f"{', '.join(first)} and {last}" if first else last


def _table(rules: Mapping[str, Rule], defaults: Mapping[str, str], said: Mapping[str, str]) -> str:
    rows = [
        [markdown.code(name), defaults[name], rule.expects, said.get(name, "")]
        for name, rule in rules.items()
    ]
    return markdown.table(["Option", "Default", "May be", "Meaning"], rows)
