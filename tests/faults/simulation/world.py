"""What happened outside, by idempotency key; and who told the engine of it."""

from dataclasses import dataclass, field


NOTHING, DONE, STRAY, LATE, UNDONE = "nothing", "done", "stray", "late", "undone"
"""``stray``: done by an attempt that had been given up. ``late``: a stray that was told of."""


@dataclass
class World:
    """The services that a saga's handlers call. They keep their promise about keys."""

    effects: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str, bool]] = field(default_factory=list)
    """Handler, key, and whether the attempt had been given up."""

    doubled: int = 0

    def do(self, handler: str, key: str, *, given_up: bool) -> None:
        """Act; a second time has no effect."""
        effect = self.effects.get(key, NOTHING)
        self.doubled += effect in {DONE, STRAY, LATE}
        self.calls.append((handler, key, given_up))
        if not given_up:
            self.effects[key] = DONE
        elif effect in {NOTHING, UNDONE}:
            self.effects[key] = STRAY

    def undo(self, handler: str, key: str, *, given_up: bool) -> None:
        """Undo; what did not happen stays as it is."""
        effect = self.effects.get(key, NOTHING)
        self.doubled += effect == UNDONE
        self.calls.append((handler, key, given_up))
        if effect != NOTHING:
            self.effects[key] = UNDONE

    def told_late(self, key: str) -> None:
        """The engine was told of an effect though its attempt had been given up."""
        if self.effects.get(key) == STRAY:
            self.effects[key] = LATE

    def has(self, key: str) -> bool:
        """Whether the effect stands."""
        return self.effects.get(key, NOTHING) in {DONE, STRAY, LATE}
