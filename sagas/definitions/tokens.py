"""Signed tokens: whoever has one may answer, or decide, the request that it names, and nothing else.

They hold no secret, and are kept nowhere: Django's ``SECRET_KEY`` signs them, and while it is replaced
``SECRET_KEY_FALLBACKS`` still read the older ones.
"""

import time
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.core import signing
from django.core.signing import BadSignature, SignatureExpired, Signer
from django.urls import NoReverseMatch, reverse

from sagas.conf import saga_settings
from sagas.exceptions import SagaConfigurationError


_APPROVAL_SALT = "sagas.approval"


class Request(NamedTuple):
    """What one attempt asked of an outside party."""

    step_id: UUID
    fence: int


def answer_token(request: Request) -> str:
    """Return the token by which a request can be answered, of letters that an address takes."""
    return _signer().sign(f"{request.step_id.hex}-{request.fence}")


def read_answer_token(token: str) -> Request:
    """Return the request that a token names.

    Raises:
        BadSignature: nobody here has signed it for this.
    """
    step_id, _, fence = _signer().unsign(token).partition("-")
    return Request(UUID(step_id), int(fence))


def approval_token(request: Request, user_id: object, *, expires: timedelta) -> str:
    """Return the token by which one user can decide one request, for so long."""
    until = int(time.time() + expires.total_seconds())
    named = [request.step_id.hex, request.fence, str(user_id), until]
    return signing.dumps(named, salt=_APPROVAL_SALT)


def read_approval_token(token: str) -> tuple[Request, str]:
    """Return the request that a token names, and the id of the user for whom it was made.

    Raises:
        BadSignature: nobody here has signed it for this, or its time is over.
    """
    step_id, fence, user_id, until = signing.loads(token, salt=_APPROVAL_SALT)
    if time.time() > until:
        raise SignatureExpired("its time is over")
    return Request(UUID(step_id), fence), user_id


def answer_url(token: str) -> str:
    """Return where the token is answered: a path, or with ``SAGAS["BASE_URL"]`` a whole address."""
    return address_of("sagas:answer", token)


def address_of(page: str, token: str) -> str:
    """Return the address of a page of :mod:`sagas.urls`.

    Raises:
        SagaConfigurationError: the project does not include :mod:`sagas.urls`.
    """
    try:
        path = reverse(page, args=[token])
    except NoReverseMatch:
        message = 'no address leads to the sagas: add path("sagas/", include("sagas.urls"))'
        raise SagaConfigurationError(f"{message} to the project's urls") from None
    return f"{saga_settings().BASE_URL.rstrip('/')}{path}"


def _signer() -> Signer:
    return Signer(sep=".", salt="sagas.answer")


__all__ = [
    "BadSignature",
    "Request",
    "address_of",
    "answer_token",
    "answer_url",
    "approval_token",
    "read_answer_token",
    "read_approval_token",
]
