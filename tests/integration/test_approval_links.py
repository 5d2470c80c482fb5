"""A person decides by a link that was made for them (R88)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client

from sagas import Approval, Saga, start_saga, step
from sagas.definitions.tokens import Request, address_of, approval_token
from sagas.models import SagaRun
from sagas.operations import cancel_saga
from sagas.states import EventType, SagaState, StepState
from tests.driving import drive, everything, fresh, states, step_of
from tests.integration.test_approvals import PERMISSION, person, refund
from tests.integration.test_locks import held
from tests.traced import Script


pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("messages")]

URLS: dict[str, str] = {}
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
def _nobody_was_asked() -> Iterator[None]:
    URLS.clear()
    yield
    URLS.clear()


@pytest.fixture
def ann() -> User:
    return person("ann", "revert_sagarun")


class Mailing(Saga[Script]):
    """Everybody who may is sent a link."""

    class Meta:
        label = "tests.Mailing"

    @step
    def approve(self) -> None:
        for user in User.objects.all():
            URLS[user.username] = self.approval_url(user)
        raise Approval("<b>refund</b> over 500", permission=PERMISSION)

    approve.no_compensation("a word")


def mailing() -> SagaRun:
    return drive(start_saga(Mailing, Script(), key="k"))


def url_for(run: SagaRun, user: User, expires: timedelta = WEEK) -> str:
    row = step_of(run, "approve")
    token = approval_token(Request(row.pk, row.fence), user.pk, expires=expires)
    return address_of("sagas:approval", token)


def post(url: str, **fields: str) -> Any:
    return Client(enforce_csrf_checks=True).post(url, {"reason": "fine", **fields})


def is_refused(url: str, status: int, **fields: str) -> str:
    before = everything()
    responses = [Client().get(url), post(url, approve="yes", **fields)]
    assert [response.status_code for response in responses] == [status, status]
    assert everything() == before
    text: str = responses[-1].content.decode()
    return text


class TestALink:
    def test_that_is_followed_decides_nothing(self, ann: User) -> None:
        mailing()
        before = everything()
        response = Client().get(URLS["ann"])
        text = response.content.decode()
        assert response.status_code == 200
        assert "&lt;b&gt;refund&lt;/b&gt; over 500" in text
        assert "ann" in text
        assert 'name="result"' not in text
        assert everything() == before
        assert response["Referrer-Policy"] == "no-referrer"
        assert response["X-Frame-Options"] == "DENY"
        assert "no-store" in response["Cache-Control"]

    def test_approves_in_the_name_of_whom_it_was_made_for(self, ann: User) -> None:
        run = mailing()
        assert "You approved it." in post(URLS["ann"], approve="yes").content.decode()
        event = run.events.get(type=EventType.STEP_APPROVED)
        assert (event.actor, event.note) == ("ann", "fine")
        assert fresh(run).state == SagaState.COMPLETED

    def test_rejects(self, ann: User) -> None:
        run = mailing()
        assert "You rejected it." in post(URLS["ann"], reject="yes").content.decode()
        assert fresh(run).error == "rejected by ann: fine"

    def test_is_good_once(self, ann: User) -> None:
        mailing()
        post(URLS["ann"], approve="yes")
        assert "has been decided" in is_refused(URLS["ann"], 409)

    @pytest.mark.parametrize(
        "fields", [{}, {"approve": "yes", "reject": "yes"}, {"approve": "yes", "reason": " "}]
    )
    def test_needs_one_of_the_buttons_and_a_reason(self, ann: User, fields: dict[str, str]) -> None:
        mailing()
        before = everything()
        assert post(URLS["ann"], **fields).status_code == 400
        assert everything() == before

    def test_asks_for_a_result_where_the_step_has_one(self, ann: User) -> None:
        run = refund()
        url = url_for(run, ann)
        assert "Limit | None" in Client().get(url).content.decode()
        assert post(url, approve="yes", result='{"euros": "many"}').status_code == 400
        assert post(url, approve="yes", result="{").status_code == 400
        assert post(url, approve="yes", result='{"euros": 600}').status_code == 200
        assert step_of(run, "approve").output == {"euros": 600}

    def test_of_two_people_each_has_their_own(self, ann: User) -> None:
        bob = person("bob", "revert_sagarun")
        run = refund(four_eyes="yes")
        first = post(url_for(run, ann), approve="yes")
        assert "Somebody else is to approve it" in first.content.decode()
        assert "(2 people are needed)" in Client().get(url_for(run, bob)).content.decode()
        assert post(url_for(run, ann), approve="yes").status_code == 409
        assert states(run)["approve"] == StepState.WAITING
        post(url_for(run, bob), approve="yes")
        assert states(run)["approve"] == StepState.SUCCEEDED

    @pytest.mark.postgres
    def test_of_a_saga_that_is_locked_is_to_be_used_again(self, ann: User, settings: Any) -> None:
        run = mailing()
        settings.SAGAS = {**settings.SAGAS, "OPERATOR_LOCK_TIMEOUT_SECONDS": 0.2}
        with held(run):
            assert post(URLS["ann"], approve="yes").status_code == 503
        assert post(URLS["ann"], approve="yes").status_code == 200


class TestALinkThatIsNone:
    def test_forged_or_made_for_something_else(self, ann: User) -> None:
        run = mailing()
        row = step_of(run, "approve")
        foreign = signing.dumps([row.pk.hex, row.fence, str(ann.pk), 9e9], salt="sagas.answer")
        for token in ("x", URLS["ann"].split("/")[-2][:-1] + "é", foreign):
            is_refused(address_of("sagas:approval", token), 403)

    def test_whose_time_is_over(self, ann: User) -> None:
        run = mailing()
        is_refused(url_for(run, ann, timedelta(seconds=-1)), 403)

    def test_of_who_may_not_or_is_gone(self, ann: User) -> None:
        eve = person("eve", "answer_step_sagarun")
        mailing()
        is_refused(URLS["eve"], 403)
        ann.is_active = False
        ann.save()
        is_refused(URLS["ann"], 403)
        eve.delete()
        is_refused(URLS["eve"], 403)

    def test_of_a_saga_that_turned_back_or_is_gone(self, ann: User) -> None:
        run = mailing()
        cancel_saga(run, reason="x")
        is_refused(URLS["ann"], 409)
        SagaRun.objects.filter(pk=run.pk).delete()
        is_refused(URLS["ann"], 403)

    def test_of_a_saga_whose_code_is_not_here(self, ann: User) -> None:
        run = mailing()
        SagaRun.objects.filter(pk=run.pk).update(label="tests.Gone")
        url = URLS["ann"]
        before = everything()
        assert Client().get(url).status_code in {200, 503}
        assert post(url, approve="yes").status_code == 503
        assert everything() == before


def test_a_link_can_be_made_in_a_unit_test_too() -> None:
    with pytest.raises(Approval):
        Mailing(Script()).approve()
