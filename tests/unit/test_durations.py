"""Durations as people write and read them."""

from datetime import timedelta

import pytest

from sagas.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        (" 30m ", timedelta(minutes=30)),
        ("0s", timedelta(0)),
    ],
)
def test_durations_that_people_write_are_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1w", "1d 2h", "9999999d", "٣d"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use 90d"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=40), "40 ms"),
        (timedelta(seconds=2.54), "2.5 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(minutes=2, seconds=10), "2 min 10 s"),
        (timedelta(hours=3, minutes=4, seconds=5), "3 h 4 min"),
        (timedelta(days=90), "90 d 0 h"),
    ],
)
def test_a_duration_is_written_in_its_largest_units(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text
