"""Lives by the thousand, each by a seed; what breaks a law is shrunk and printed."""

import gc
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any

from tests.faults.simulation.scenario import Scenario, scenario
from tests.faults.simulation.stage import Stage, stage


AT_ONCE = 200
"""How many lives are played between two collections of garbage, which take a tenth of the time."""

TELL_EACH = 5_000
"""After how many lives it is told how many there were: all of them take hours."""


def play(seeds: Iterable[int], most: int = 3, make: Callable[[Random], Scenario] = scenario) -> int:
    """Play the lives of these seeds, and tell; no more when ``most`` broke a law. Returns how many did."""
    logging.disable()
    gc.disable()
    began, played, broken = time.monotonic(), 0, 0
    words: Counter[str] = Counter()
    with stage() as here:
        for seed in seeds:
            made_up = make(Random(seed))  # noqa: S311 no secret
            try:
                words[f"{made_up.saga}: {', '.join(here.live(made_up))}"] += 1
            except Exception:  # noqa: BLE001 whatever it is, it is told
                broken += 1
                tell(here, seed, made_up)
            played += 1
            if not played % AT_ONCE:
                gc.collect()
            if not played % TELL_EACH:
                say(f"{played} lives so far, {broken} broke a law")
            if broken == most:
                break
    seconds = time.monotonic() - began
    say(f"{played} lives in {seconds:.0f} s, {broken} broke a law")
    say(*(f"{count:8} {word}" for word, count in words.most_common()))
    return broken


def tell(here: Stage, seed: int, made_up: Scenario) -> None:
    """Print what is left of a scenario when everything is dropped that does not matter."""
    least = shrink(here, made_up)
    say(f"seed {seed}: {least}")
    try:
        here.live(least)
    except Exception:  # noqa: BLE001 whatever it is, it is told
        say(traceback.format_exc(limit=-4))
    say(*map(str, here.life.world.calls))


def say(*lines: str) -> None:
    """Print."""
    sys.stdout.write("\n".join((*lines, "")))
    sys.stdout.flush()


def breaks(here: Stage, made_up: Scenario) -> bool:
    """Whether this life breaks a law, or the engine breaks in it."""
    try:
        here.live(made_up)
    except Exception:  # noqa: BLE001
        return True
    return False


def shrink(here: Stage, made_up: Scenario) -> Scenario:
    """Drop moves and mishaps, one after the other, as long as it breaks a law."""
    smaller = True
    while smaller:
        smaller = False
        for part in ("mishaps", "moves", "ending"):
            place = 0
            while place < len(getattr(made_up, part)):
                whole: tuple[Any, ...] = getattr(made_up, part)
                dropped: Any = {part: (*whole[:place], *whole[place + 1 :])}
                if breaks(here, replace(made_up, **dropped)):
                    made_up, smaller = replace(made_up, **dropped), True
                else:
                    place += 1
    return made_up
