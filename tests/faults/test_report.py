"""The page of measured sections: each run replaces its own and leaves the others."""

from pathlib import Path

import pytest

from benchmarks.faults.recovery import Recovery
from benchmarks.plant.progress import Progress
from benchmarks.plant.report import seconds, table, write_section


def test_a_section_is_replaced_where_it_stands_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    for name, text in (("a", "first"), ("b", "second"), ("a", r"third \1")):
        write_section(page, name, text)
    written = page.read_text()
    assert written.startswith("# ")
    assert "first" not in written
    assert written.index(r"third \1") < written.index("second")


def test_a_table_has_words_on_the_left_and_figures_on_the_right() -> None:
    assert table(["what", "n"], [("sagas", 3)]) == "| what | n |\n| --- | ---: |\n| sagas | 3 |"


def test_percentiles_are_times_that_were_measured() -> None:
    recovery = Recovery(kind="flush", faults=1, seconds=[1.0, 2.0, 3.0, 4.0], never=0)
    assert [recovery.percentile(share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]
    nothing_hit = Recovery(kind="flush", faults=1, seconds=[], never=0)
    assert seconds(nothing_hit.percentile(0.5)) == "-"


def test_progress_shows_lines_that_stay_only_once_in_a_while(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(live=False)
    progress.show("one")
    progress.show("two")
    assert "two" not in capsys.readouterr().out
