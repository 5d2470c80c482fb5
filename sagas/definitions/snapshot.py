"""Frozen dataclasses that a JSON column keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What differs from the defaults, as JSON data, and back. Every field has a default.

    A row outlives deploys: what another version wrote beside it is ignored, and what that did not
    know yet has its default. So a default means the same for ever.
    """

    def snapshot(self) -> dict[str, Any]:
        """Return what differs from the defaults."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f.name: said[f.name] for f in fields(self) if said[f.name] != f.default}

    @classmethod
    def from_snapshot(cls, data: Mapping[str, Any]) -> Self:
        """Return what :meth:`snapshot` was made of."""
        known = cls.__dataclass_fields__
        restored = cls.__new__(cls)
        # Every attempt does this. It costs a third of __init__; what is missing is read from the class.
        vars(restored).update({name: value for name, value in data.items() if name in known})
        return restored
