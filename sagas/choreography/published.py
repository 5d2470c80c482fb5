"""An event that was published: a name, a key and JSON data, and what it carries to its reactions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sagas.exceptions import PayloadError
from sagas.payloads import JSON, Codec
from sagas.texts import require_storable


MAX_NAME = 60
"""Of an event and of a reaction: a row's name has room for ``[key]`` besides."""

KEY_LENGTH = 200

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME}}}")
_SHORT_KEY = re.compile(r"[A-Za-z0-9_.:@/+-]{1,36}")
_WHATEVER_IT_IS: Codec[Any] = Codec(Any)


@dataclass(frozen=True, kw_only=True)
class PublishedEvent:
    """An event, checked."""

    name: str
    key: str
    """Two of one name and key in one trace are one event. Empty: it is like no other."""

    data: JSON

    @classmethod
    def checked(cls, name: str, data: object, *, key: str = "") -> "PublishedEvent":
        """Return the event.

        Raises:
            PayloadError, PayloadTooLarge: name, key or data cannot be stored.
        """
        if not is_event_name(name):
            message = (
                f"an event's name is letters, digits, '_' and '-', at most {MAX_NAME} in all;"
                f" {name!r:.100} is none"
            )
            raise PayloadError(message)
        require_storable(key, what=f"the key of {name}", length=KEY_LENGTH)
        return cls(name=name, key=key, data=_WHATEVER_IT_IS.dump(data, what=f"the data of {name}"))

    @property
    def label(self) -> str:
        """What reacts to it is declared under this label, which a trace that it begins has too."""
        return label_of(self.name)

    @property
    def key_in_row(self) -> str:
        """What a row's name says of the key."""
        if not self.key:
            return ""
        short = _SHORT_KEY.fullmatch(self.key)
        return f"[{self.key if short else sha256(self.key.encode()).hexdigest()[:16]}]"

    def carried(self, *, step: str, completed_steps: Sequence[str]) -> dict[str, JSON]:
        """Return what a row keeps of it: ``step`` has published it, after all of ``completed_steps``."""
        return {
            "event": self.name,
            "key": self.key,
            "data": self.data,
            "step": step,
            "completed_steps": [*completed_steps],
        }


def is_event_name(name: object) -> bool:
    """Whether an event can have this name. It has no dot, which the names of reactions have."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def label_of(name: str) -> str:
    """Return the label under which the reactions to an event are declared."""
    return f"events.{name}"
