"""Every door through which a text comes in: NUL and half a surrogate pair are no DataError (R65)."""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client

from sagas import Saga, operations, start_saga, start_sagas, step
from sagas.exceptions import ActionNotAllowed, PayloadError, UnknownSaga
from sagas.idempotency import once, undo_once
from sagas.models import SagaEvent, SagaRun
from sagas.texts import mended
from tests.driving import drive, fresh, nothing_is_written
from tests.traced import Five, Script


pytestmark = pytest.mark.django_db(transaction=True)

start: Any = start_saga
many: Any = start_sagas
BAD = ["a\x00b", "a\ud800"]
bad_texts = pytest.mark.parametrize("text", BAD, ids=["NUL", "half a pair"])

DOORS: dict[str, Callable[[Any], object]] = {
    "the key": lambda text: start(Five, Script(), key=text),
    "a tag": lambda text: start(Five, Script(), key="k", tags={"of": text}),
    "the name of a tag": lambda text: start(Five, Script(), key="k", tags={text: "x"}),
    "one key of many": lambda text: many(Five, [Script()] * 2, keys=["k", text]),
    "a tag of many": lambda text: many(Five, [Script()], keys=["k"], tags={"of": text}),
    "the input": lambda text: start("tests.Five", {"faults": {text: "bug"}}, key="k"),
    "a key of once()": lambda text: once(text, lambda: 1),
    "a key of undo_once()": lambda text: undo_once(text, lambda: 1),
}


@bad_texts
@pytest.mark.parametrize("door", DOORS)
def test_a_text_that_names_something_is_refused_and_the_transaction_goes_on(
    door: str, text: str
) -> None:
    with transaction.atomic():
        with pytest.raises(PayloadError, match=r"NUL|surrogate"):
            DOORS[door](text)
        assert User.objects.count() == 0
    assert nothing_is_written()


@pytest.mark.parametrize("door", ["the key", "a tag", "one key of many", "a key of once()"])
@pytest.mark.parametrize("value", [7, b"k", 1.5])
def test_a_name_that_is_no_text_is_refused(door: str, value: object) -> None:
    with pytest.raises(PayloadError, match="must be text, not"):
        DOORS[door](value)
    assert nothing_is_written()


def test_tags_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(PayloadError, match="must be a mapping of names to texts, not list"):
        start(Five, Script(), key="k", tags=["x"])


@bad_texts
def test_an_unknown_label_is_unknown(text: str) -> None:
    with pytest.raises(UnknownSaga):
        start(text, {}, key="k")


@bad_texts
def test_what_an_operator_tells_is_kept_with_what_cannot_be_stored_replaced(text: str) -> None:
    run = start_saga(Five, Script(), key="k")
    operations.pause_saga(run, reason=text, actor=text)
    operations.resume_saga(run, reason=text, actor=text * 100)
    operations.cancel_saga(run, reason=text, actor=text)
    told = list(SagaEvent.objects.exclude(actor=""))
    assert {event.note for event in told} == {mended(text)} != {text}
    assert max(len(event.actor) for event in told) == 150


@bad_texts
def test_a_dead_letter_is_retried_skipped_and_resolved_with_any_words(text: str) -> None:
    run = drive(start_saga(Five, Script({"c": "bug", "undo_b": "bug"}), key="k"))
    assert run.state == "dead_letter"
    retried = drive(operations.retry_saga(run, reason=text, actor=text))
    retried = drive(operations.retry_step(retried, "b", reason=text, actor=text))
    assert operations.resolve_saga(retried, reason=text, actor=text).state == "resolved"
    other = drive(start_saga(Five, Script({"c": "bug", "undo_b": "bug"}), key="other"))
    assert drive(operations.skip_step(other, "b", reason=text, actor=text)).state == "compensated"


@bad_texts
@pytest.mark.parametrize("verb", ["retry_step", "skip_step", "complete_step"])
def test_a_step_that_cannot_exist_is_no_step_of_the_saga(verb: str, text: str) -> None:
    run = start_saga(Five, Script(), key="k")
    with pytest.raises(ActionNotAllowed, match="it has no such step"):
        getattr(operations, verb)(run, text, reason="x")
    with pytest.raises(ActionNotAllowed, match="it has no such step"):
        operations.fail_step(run, text, error=text, code=text, reason=text, actor=text)


@bad_texts
def test_a_search_for_what_cannot_exist_finds_nothing(text: str) -> None:
    start_saga(Five, Script(), key="k", tags={"of": "x"})
    for search in (text, f"of={text}", f"{text}=x"):
        assert list(SagaRun.objects.search(search)) == []
        out = StringIO()
        call_command("saga", "list", "--search", search, stdout=out)
        assert "tests.Five" not in out.getvalue()


@bad_texts
def test_the_command_line_says_that_no_saga_has_an_impossible_name(text: str) -> None:
    for command in (["show", text], ["cancel", text, "--reason", "x"], ["list", "--label", text]):
        try:
            call_command("saga", *command, stdout=StringIO())
        except CommandError as error:
            assert "No saga has the id or key" in str(error)  # noqa: PT017 one of three prints
    assert connection.connection is None or not connection.needs_rollback


@bad_texts
def test_the_command_line_takes_any_reason(text: str) -> None:
    run = start_saga(Five, Script(), key="k")
    call_command("saga", "cancel", "k", "--reason", text, stdout=StringIO())
    assert fresh(run).state == "cancelled"


@pytest.mark.parametrize("parameter", ["q", "label", "state", "group", "has_warnings", "owner"])
def test_the_admin_list_answers_whatever_its_address_says(
    admin_client: Client, parameter: str
) -> None:
    start_saga(Five, Script(), key="k")
    for value in ("%00", "a%00b", "%ED%A0%80", "of%3D%00"):
        page = admin_client.get(f"/admin/sagas/sagarun/?{parameter}={value}", follow=True)
        assert page.status_code == 200, (parameter, value)


def test_the_admin_takes_no_reason_with_nul_and_says_so(admin_client: Client) -> None:
    run = start_saga(Five, Script(), key="k")
    address = f"/admin/sagas/sagarun/{run.pk}/cancel/"
    token = admin_client.get(address).context["subjects"][0]
    posted = {"reason": "a\x00b", token.token_name: token.token}
    page = admin_client.post(address, posted)
    assert "Null characters are not allowed" in page.content.decode()
    assert fresh(run).state == "running"


class Tagging(Saga[str]):
    """Tags itself with its input."""

    class Meta:
        label = "tests.Tagging"

    @step
    def tag(self) -> None:
        bad = self.input.replace("NUL", "\x00").replace("half", "\ud800")
        self.set_tags(of=bad)

    tag.no_compensation("changes nothing")


@pytest.mark.parametrize(
    ("said", "complaint"), [("a NUL", "'of' of .* holds a NUL"), ("half", "half of a surrogate")]
)
def test_a_tag_that_a_handler_sets_is_refused_by_name(said: str, complaint: str) -> None:
    run = drive(start_saga(Tagging, said, key="k"))
    assert re.search(complaint, run.error)
    assert run.tags == {}
