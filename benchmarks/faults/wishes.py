"""What each saga is to go through, from its number alone: the same for every system."""

from dataclasses import dataclass


STEPS = ("reserve", "charge", "pack", "ship", "notify")

REFUSED = "refused"
"""The outside service says no; nothing happened."""
NO_ANSWER = "no answer"
"""It is never reached; nothing happened, but nobody can know that."""
ANSWER_LOST = "answer lost"
"""It does what it is asked each time, and its answer never arrives."""
STUMBLES = "stumbles"
"""Its first answer is lost; the next one arrives."""
HANGS = "hangs"
"""It does what it is asked, and the first caller waits for ever."""

FAILURES = (REFUSED, NO_ANSWER, REFUSED, ANSWER_LOST)
"""A saga that meets one of these cannot complete."""


@dataclass(frozen=True)
class Wish:
    """One saga: its name, the step where something goes wrong, and how long each step holds."""

    saga: str
    at: str = ""
    how: str = ""
    hold_ms: int = 0
    undo_stumbles: bool = False

    @property
    def must_fail(self) -> bool:
        """Whether it cannot complete, whatever the machines do."""
        return self.how in FAILURES


def wish(number: int, *, hold_ms: int, hangs: bool = False) -> Wish:
    """Every fifth saga fails: at each step in turn, in each way in turn. Others stumble, or hang."""
    saga, turn = f"saga-{number}", number // 5
    if number % 5 == 0:
        how = FAILURES[turn // len(STEPS) % len(FAILURES)]
        stumbles = turn % 3 == 0
        return Wish(saga, STEPS[turn % len(STEPS)], how, hold_ms, undo_stumbles=stumbles)
    if hangs and number % 5 == 1:
        return Wish(saga, STEPS[turn % len(STEPS)], HANGS, hold_ms)
    if number % 11 == 1:
        return Wish(saga, STEPS[number % len(STEPS)], STUMBLES, hold_ms)
    return Wish(saga, hold_ms=hold_ms)
