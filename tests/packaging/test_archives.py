"""What is built holds the whole package and nothing besides, and says what pyproject.toml says."""

import zipfile
from pathlib import Path

import pytest

from benchmarks.compatibility.lock import CHECKOUT, PROJECT
from tests.packaging import wheels
from tools import release


Built = tuple[Path, Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return release.build(CHECKOUT, tmp_path_factory.mktemp("dist"))


def told(sdist: Path, wheel: Path) -> list[str]:
    files = release.package_files(CHECKOUT)
    return list(release.archive_problems(sdist, wheel, project=PROJECT["project"], files=files))


def test_this_checkout_builds_whole_archives(built: Built) -> None:
    assert told(*built) == []


def test_a_file_that_is_left_out_or_put_in_is_told(built: Built, tmp_path: Path) -> None:
    sdist, wheel = built
    other = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as before, zipfile.ZipFile(other, "w") as after:
        for name in before.namelist():
            if name != "sagas/py.typed":
                after.writestr(name, before.read(name))
        after.writestr("tests/test_x.py", "")
    assert told(sdist, other) == [
        f"{wheel.name} lacks: sagas/py.typed.",
        f"{wheel.name} has besides: tests/test_x.py.",
    ]


def test_metadata_of_something_else_is_told(built: Built, tmp_path: Path) -> None:
    sdist, _ = built
    empty = wheels.invent(tmp_path, "django-celery-sagas", "0.0.1")
    problems = "\n".join(told(sdist, empty))
    assert "Version is '0.0.1'" in problems
    assert "Project-URL does not tell" in problems
    assert "its description is not README.md" in problems
