"""The table of the operator's verbs, and that whoever offers verbs offers all of them (R125)."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

import pytest

from sagas import operations
from sagas.admin.forms import FailureForm, ReasonForm, ResultForm, RewindForm
from sagas.admin.verbs import RUN_PAGES, STEP_PAGES, VerbPage
from sagas.management.subcommands import acting
from sagas.models import SagaRun
from sagas.operations.verbs import VERBS, RunVerb, StepVerb, run_verbs, step_verbs


PERMISSIONS = {
    "retry": "retry",
    "resolve": "resolve",
    "pause": "pause",
    "resume": "pause",
    "cancel": "cancel",
    "compensate": "compensate",
    "revert": "revert",
    "rewind": "rewind",
    "retry_step": "retry",
    "skip_step": "skip_step",
    "approve_step": "answer_step",
    "reject_step": "answer_step",
    "complete_step": "answer_step",
    "fail_step": "answer_step",
}
EVERY_PAGE: list[VerbPage[Any]] = [*RUN_PAGES, *STEP_PAGES]
PAGES = {page.name: page for page in EVERY_PAGE}

each_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


class TestTable:
    def test_it_has_every_verb_with_its_permission(self) -> None:
        named = {name: f"sagas.{permission}_sagarun" for name, permission in PERMISSIONS.items()}
        assert {name: verb.permission for name, verb in VERBS.items()} == named

    def test_every_permission_is_one_that_django_knows_and_none_is_for_nothing(self) -> None:
        known = {f"sagas.{codename}" for codename, _ in SagaRun._meta.permissions}
        assert {verb.permission for verb in VERBS.values()} == known

    @each_verb
    def test_what_a_verb_does_is_a_public_function(self, verb: RunVerb | StepVerb) -> None:
        operation = verb.operation
        function = operation.func if isinstance(operation, partial) else operation
        name = function.__name__  # type: ignore[union-attr]  # a function's
        assert name in operations.__all__
        assert getattr(operations, name) is function

    def test_what_can_be_previewed_undoes_something(self) -> None:
        undoing = {verb.name for verb in run_verbs() if verb.undoes}
        assert undoing == {"cancel", "compensate", "revert"}

    def test_what_a_verb_takes_besides_a_reason(self) -> None:
        takes_result = {verb.name for verb in step_verbs() if verb.takes_result}
        takes_error = {verb.name for verb in step_verbs() if verb.takes_error}
        assert takes_result == {"skip_step", "complete_step", "approve_step"}
        assert takes_error == {"fail_step"}
        assert {verb.name for verb in step_verbs() if verb.takes_input} == {"rewind"}


class TestAdmin:
    def test_it_has_a_page_for_every_verb(self) -> None:
        assert PAGES.keys() == VERBS.keys()
        assert all(page.verb is VERBS[name] for name, page in PAGES.items())

    @each_verb
    def test_the_page_says_what_the_verb_does(self, verb: RunVerb | StepVerb) -> None:
        page = PAGES[verb.name]
        assert page.title
        assert page.effect

    @each_verb
    def test_the_form_asks_for_what_the_verb_takes(self, verb: RunVerb | StepVerb) -> None:
        form = PAGES[verb.name].form
        takes_result = isinstance(verb, StepVerb) and verb.takes_result
        takes_error = isinstance(verb, StepVerb) and verb.takes_error
        assert issubclass(form, ResultForm) == takes_result
        assert issubclass(form, FailureForm) == takes_error
        assert issubclass(form, RewindForm) == (isinstance(verb, StepVerb) and verb.takes_input)
        assert issubclass(form, ReasonForm)


class TestCommandLine:
    @each_verb
    def test_it_has_a_subcommand_for_every_verb(self, verb: RunVerb | StepVerb) -> None:
        arguments = [verb.name.replace("_", "-"), "order-1", "--reason", "ticket 17"]
        if isinstance(verb, StepVerb):
            arguments += ["--to", "reserve", "--input", "{}"] if verb.takes_input else ["reserve"]
            arguments += ["--result", "{}"] if verb.takes_result else []
            arguments += ["--actor", "ann"] if verb.by_person else []
            arguments += ["--error", "refused", "--code", "X"] if verb.takes_error else []
        parser = ArgumentParser()
        acting.add_to(parser.add_subparsers())
        options = vars(parser.parse_args(arguments))
        assert options["do"].args == (verb,)
        assert options["reason"] == "ticket 17"
