"""``USE_TZ = False``: every door opens, and every time is told in the project's zone."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest


ZONE = "America/New_York"
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def seen(acceptance_database: str) -> dict[str, Any]:
    environment = {
        **os.environ,
        "DATABASE_URL": acceptance_database,
        "DJANGO_SETTINGS_MODULE": "tests.settings_without_zones",
    }
    process = subprocess.run(
        [sys.executable, "-m", "tests.without_zones"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    return found


def is_near(moment: str, seen: dict[str, Any], *, after: timedelta = timedelta()) -> bool:
    """Whether a time as New York tells it is about when the process ran, or so long ``after``."""
    off = datetime.fromisoformat(moment).replace(tzinfo=None) - datetime.fromisoformat(seen["now"])
    return abs(off - after) < timedelta(minutes=3)


def test_a_project_without_zones(seen: dict[str, Any]) -> None:
    """One test, because its process takes seconds."""
    assert seen["states"] == {
        "completed": "completed",
        "compensated": "compensated",
        "dead": "dead_letter",
        "waiting": "running",
        "between": "running",
        "paused": "running",
    }
    assert set(seen["pages"].values()) == {200}, seen["pages"]
    explains_in_its_zone(seen)
    prints_in_its_zone(seen)
    shows_in_its_zone(seen)
    compares_with_its_own_clock(seen)


def explains_in_its_zone(seen: dict[str, Any]) -> None:
    explained = seen["explained"]
    paused = re.search(rf"paused since ({MOMENT}) {ZONE}", explained["paused"])
    waits = re.search(rf"until ({MOMENT}) {ZONE}", explained["waiting"])
    assert paused, explained
    assert waits, explained
    assert re.search(rf"waits until \d\d:\d\d:\d\d {ZONE}", explained["between"]), explained
    assert is_near(paused[1], seen)
    assert is_near(waits[1], seen, after=timedelta(minutes=10))
    told = " ".join([*explained.values(), *seen["refusals"]])
    assert "UTC" not in told
    assert len(seen["refusals"]) == 2
    assert all(ZONE in refusal for refusal in seen["refusals"])


def prints_in_its_zone(seen: dict[str, Any]) -> None:
    for text in (seen["shown"], seen["listed"]):
        moments = re.findall(rf"({MOMENT}) {ZONE}", text)
        assert moments
        assert len(moments) == len(re.findall(MOMENT, text))
        assert all(is_near(moments[n], seen) for n in (-1, -2))
    exported = datetime.fromisoformat(seen["json"]["created_at"])
    assert exported.utcoffset() == timedelta()
    assert abs(datetime.now(exported.tzinfo) - exported) < timedelta(minutes=3)


def shows_in_its_zone(seen: dict[str, Any]) -> None:
    for name, page in seen["html"].items():
        attributes = re.findall(r'<time datetime="([^"]+)" title="([^"]+)"', page)
        assert attributes or name in {"dead retry", "paused resume"}, name
        for moment, title in attributes:
            at = datetime.fromisoformat(moment)
            assert at.utcoffset() in {timedelta(hours=-5), timedelta(hours=-4)}, moment
            assert title.startswith(f"{at:%Y-%m-%d %H:%M:%S} "), title
    times = re.findall(r'<time datetime="([^"]+)"', seen["html"]["list"])
    assert all(is_near(moment, seen) for moment in times)
    assert re.search(r"[\d.]+ (ms|s|min) ago", seen["html"]["list"])
    assert re.search(r"in (9|10) min", seen["html"]["waiting"])
    assert not re.search(r"\d h \d", "".join(seen["html"].values()))


def compares_with_its_own_clock(seen: dict[str, Any]) -> None:
    assert seen["doctor"]["problems"] == []
    assert seen["doctor"]["last_sweep_seconds"] < 180
    assert seen["stale"] == {"0": 1, "1": 0}
    assert seen["purged"][0] == 0
    assert seen["purged"][1].startswith("Purged 0.")
    assert seen["purged"][2] == 2
