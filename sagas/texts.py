"""Texts from outside. PostgreSQL stores no NUL, and half of a surrogate pair is no text anywhere.

What names something (a key, a tag) is refused, because a changed name is another one. What only
tells something (a reason, an actor) is mended: no record is lost for the sake of its words.
"""

import re
from typing import TypeGuard

from sagas.exceptions import PayloadError


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(value: object) -> TypeGuard[str]:
    """Whether it is a text that every database stores as it is."""
    return isinstance(value, str) and _UNSTORABLE.search(value) is None


def mended(value: object, *, length: int | None = None) -> str:
    """Return a text that can be stored: replaced what cannot, cut to ``length`` characters."""
    text = value if isinstance(value, str) else str(value)
    without_nul = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return without_nul.encode("utf-8", "replace").decode()[:length]


def require_storable(value: object, *, what: str, length: int) -> str:
    """Return ``value``, which names something.

    Raises:
        PayloadError: it is no text, too long, or holds what no database stores; it begins with ``what``.
    """
    if not isinstance(value, str):
        why = f"must be text, not {type(value).__name__}; convert it by str()"
    elif len(value) > length:
        why = f"has {len(value)} characters, more than {length}; shorten it, or use a digest of it"
    elif (found := _UNSTORABLE.search(value)) is None:
        return value
    elif found[0] == "\x00":
        why = f"holds a NUL character at place {found.start()}, which PostgreSQL does not store; remove it"
    else:
        place = found.start()
        why = f"holds half of a surrogate pair at place {place}, which is not valid text; repair it first"
    raise PayloadError(f"{what} {why}")
