"""Durations as people write and read them."""

import re
from datetime import timedelta


_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def parse_duration(text: str) -> timedelta:
    """Read ``90d``, ``12h``, ``30m`` or ``45s``.

    Raises:
        ValueError: it is written otherwise, or reaches further back than dates do.
    """
    found = re.fullmatch(r"([0-9]{1,6})([dhms])", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration; use 90d, 12h, 30m or 45s.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def format_duration(duration: timedelta) -> str:
    """Write the largest units that count: ``3 d 4 h``, ``2 min 10 s``, ``2.5 s``, ``40 ms``."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 below it, a fraction still counts
        return f"{seconds:.1f} s"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hour} h {minute} min"
    if minutes:
        return f"{minute} min {second} s"
    return f"{second} s"
