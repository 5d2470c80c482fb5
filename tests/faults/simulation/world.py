"""The services that the handlers call: what stands there now, by idempotency key, and what was asked.

They know nothing of the engine and of its rows, so what they say of a run can be compared with what
the run says of itself.
"""

from dataclasses import dataclass, field

from sagas import PermanentError


@dataclass
class Effect:
    """What a service knows of one key."""

    name: str
    """Of the step."""

    happened: bool = False
    """At any time."""

    stands: bool = False
    undone: bool = False
    """At any time; it can stand again."""

    let_go: bool = False
    """A human looked, and said that there was nothing to undo."""

    stray: bool = False
    """It stands since then, by an attempt of which nobody has told a word."""


@dataclass
class Call:
    """One request: of a step's effect, or (``undo ...``) of its undoing."""

    name: str
    key: str
    awake: bool
    """Made by an attempt that had not slept beyond its lease."""


@dataclass
class World:
    """All services of one life. They keep their promise about keys."""

    remembers: bool
    """An undoing that comes before the act forbids it, as ``sagas.idempotency`` does."""

    effects: dict[str, Effect] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    unwanted: set[str] = field(default_factory=set)
    """Names of steps whose condition said no, or that a human settled."""

    rewound: bool = False
    """A human had a part of it undone and done anew."""

    broken: list[str] = field(default_factory=list)
    """Laws that were broken at the moment of a call."""

    def effect(self, name: str, key: str) -> Effect:
        """Return what is known of a key."""
        return self.effects.setdefault(key, Effect(name))

    def do(self, name: str, key: str, *, awake: bool = True) -> None:
        """Act; a second time has no effect.

        Raises:
            PermanentError: it was undone before.
        """
        effect = self.effect(name, key)
        self.calls.append(Call(name, key, awake))
        if self.remembers and effect.undone and effect.happened:
            return
        if self.remembers and effect.undone:
            message = f"{name} was undone before it was asked for"
            raise PermanentError(message, code="CANCELLED")
        if not effect.stands:
            effect.stray = effect.undone or effect.let_go
        effect.happened = effect.stands = True

    def undo(self, name: str, key: str, *, awake: bool = True) -> None:
        """Undo; what did not happen stays as it is."""
        effect = self.effect(name, key)
        self.calls.append(Call(f"undo {name}", key, awake))
        effect.undone, effect.stands = True, False

    def tell(self, key: str) -> None:
        """The engine was told, in whatever words, by an attempt that acted."""
        if key in self.effects:
            self.effects[key].stray = False

    def settle(self, name: str, key: str) -> None:
        """A human looked, and said that nothing of it is done or needed."""
        self.unwanted.add(name)
        self.effect(name, key).let_go = True

    def has(self, key: str) -> bool:
        """Whether the effect stands."""
        return key in self.effects and self.effects[key].stands

    def stands(self, name: str) -> bool:
        """Whether an effect of this step stands, and is no stray."""
        return self.standing(name) > 0

    def standing(self, name: str) -> int:
        """Count the effects of this step that stand and are no strays."""
        found = [effect for effect in self.effects.values() if effect.name == name]
        return sum(effect.stands and not effect.stray for effect in found)

    def is_late(self, name: str) -> bool:
        """Whether a step stands only by what came after its undoing."""
        found = [e for e in self.effects.values() if e.name == name and e.stands and not e.stray]
        return all(effect.undone for effect in found)

    def happened(self, name: str) -> bool:
        """Whether it ever did."""
        found = [effect for effect in self.effects.values() if effect.name == name]
        return any(effect.happened for effect in found)
