"""``mypy --strict`` on a user's module: silent on what is right, exact on what is wrong.

No plugin is involved, and no configuration of this project.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".mypy_cache" / "user_code"

_EXPECTED = re.compile(r"# E: ([a-z-]+)$")
_REPORTED = re.compile(r"^(?P<file>[^:]+\.py):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")
# Said a second time of a decorator whose options are wrong.
_ECHO = "untyped-decorator"

Complaint = tuple[str, int, str]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> set[Complaint]:
    """What mypy says of both modules: file, line and code."""
    folder = tmp_path_factory.mktemp("user_code")
    for source, name in (("order_saga.py", "order_saga.py"), ("mistakes.txt", "mistakes.py")):
        (folder / name).write_text((HERE / source).read_text())
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"),
            *("--hide-error-context", f"--cache-dir={CACHE}", "order_saga.py", "mistakes.py"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1, checked.stderr or "mypy found nothing wrong"
    return set(_read(checked.stdout))


def _read(output: str) -> Iterator[Complaint]:
    for line in output.splitlines():
        if ": error: " not in line:
            continue
        found = _REPORTED.match(line)
        assert found is not None, line
        if found["code"] != _ECHO:
            yield found["file"], int(found["line"]), found["code"]


@pytest.mark.timeout(300)
class TestUserCode:
    def test_code_that_is_right_passes(self, complaints: set[Complaint]) -> None:
        assert {one for one in complaints if one[0] == "order_saga.py"} == set()

    def test_each_mistake_is_said_on_its_line(self, complaints: set[Complaint]) -> None:
        expected = {
            ("mistakes.py", number, found[1])
            for number, line in enumerate((HERE / "mistakes.txt").read_text().splitlines(), 1)
            if (found := _EXPECTED.search(line))
        }
        assert {one for one in complaints if one[0] == "mistakes.py"} == expected
        assert len(expected) > 20

    def test_nothing_is_said_of_the_package_itself(self, complaints: set[Complaint]) -> None:
        assert {one[0] for one in complaints} == {"mistakes.py"}
