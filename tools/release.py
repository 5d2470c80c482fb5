"""``python -m tools.release 0.1.0``: check that a release is whole, build it, and look into what was built.

Nothing is published and nothing is tagged here. The version stands in ``pyproject.toml`` alone; the tag, the
heading in ``CHANGELOG.md`` and the section in ``UPGRADING.md`` have to say the same.
"""

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version


CHECKOUT = Path(__file__).resolve().parent.parent
DIST = CHECKOUT / "dist"
PLACEHOLDER = "example.org"
"""Where the addresses of the project lead until it has some."""

BESIDE_THE_PACKAGE = {"LICENSE", "README.md", "CHANGELOG.md", "UPGRADING.md", "pyproject.toml"}


@dataclass(frozen=True, kw_only=True)
class State:
    """What the checkout says of itself."""

    project: Mapping[str, Any]
    """The table ``[project]`` of ``pyproject.toml``."""

    changelog: str
    upgrading: str
    changed_files: str
    """What ``git status --porcelain`` prints."""

    tags: frozenset[str]
    """The tags of the commit that is checked out."""


def problems(version: str, state: State) -> Iterator[str]:
    """Yield what keeps ``version`` from being released, each with its cure."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        yield f"{version!r} is not a version; use one such as 0.1.0."
        return
    if parsed.is_devrelease or parsed.local or str(parsed) != version:
        yield f"{version} is not what a release is called; use one such as {parsed.base_version}."
    if state.project["version"] != version:
        yield f"pyproject.toml says {state.project['version']}; set version = {version!r} there."
    yield from _texts(version, state)
    if state.changed_files:
        yield f"There are changes that are not committed:\n{state.changed_files.rstrip()}"
    if f"v{version}" not in state.tags:
        yield f"This commit has no tag v{version}; git tag --annotate v{version}"


def _texts(version: str, state: State) -> Iterator[str]:
    headings = re.findall(r"^## \[(.+?)\](.*)$", state.changelog, re.MULTILINE)
    if [name for name, _ in headings[:2]] != ["Unreleased", version]:
        yield f"CHANGELOG.md must go on with [{version}] after [Unreleased]."
    elif not re.fullmatch(r" - \d{4}-\d{2}-\d{2}", headings[1][1]):
        yield f"The heading of {version} in CHANGELOG.md has no date; write [{version}] - 2026-01-31."
    unreleased = state.changelog.partition("## [Unreleased]")[2].partition("\n## ")[0]
    if unreleased.strip():
        yield f"CHANGELOG.md has changes under [Unreleased]; move them below [{version}]."
    if not re.search(rf"^### {re.escape(version)}$", state.upgrading, re.MULTILINE):
        yield f"UPGRADING.md has no section {version}; write one, even if nothing is to be done."
    links = state.project.get("urls", {})
    if not links or any(PLACEHOLDER in link for link in links.values()):
        yield f"[project.urls] in pyproject.toml has no addresses yet, or {PLACEHOLDER}."


def state_of(checkout: Path) -> State:
    """Read what :func:`problems` looks at."""
    return State(
        project=tomllib.loads((checkout / "pyproject.toml").read_text())["project"],
        changelog=(checkout / "CHANGELOG.md").read_text(),
        upgrading=(checkout / "UPGRADING.md").read_text(),
        changed_files=_output(checkout, "git", "status", "--porcelain"),
        tags=frozenset(_output(checkout, "git", "tag", "--points-at", "HEAD").split()),
    )


def build(checkout: Path, folder: Path) -> tuple[Path, Path]:
    """Build the source archive, and the wheel from what is in it. Returns both."""
    sdist = _built(checkout, "sdist", folder)
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(sdist) as archive:
            archive.extractall(unpacked, filter="data")
        (source,) = Path(unpacked).iterdir()
        wheel = _built(source, "wheel", folder)
    return sdist, wheel


def archive_problems(
    sdist: Path, wheel: Path, *, project: Mapping[str, Any], files: set[str]
) -> Iterator[str]:
    """Yield what is wrong with the archives; ``files`` are those of the package, as git knows them."""
    with tarfile.open(sdist) as archive:
        names = (Path(member.name) for member in archive.getmembers() if member.isfile())
        packed = {str(Path(*name.parts[1:])) for name in names}
    yield from _differences(sdist, packed - {"PKG-INFO", ".gitignore"}, files | BESIDE_THE_PACKAGE)
    with zipfile.ZipFile(wheel) as opened:
        inside = set(opened.namelist())
        (metadata,) = (name for name in inside if name.endswith(".dist-info/METADATA"))
        said = message_from_bytes(opened.read(metadata))
    yield from _differences(wheel, {name for name in inside if ".dist-info/" not in name}, files)
    expected = {
        "Name": project["name"],
        "Version": project["version"],
        "Summary": project["description"],
        "Requires-Python": project["requires-python"],
        "License-Expression": project["license"],
        "Description-Content-Type": "text/markdown",
    }
    for name, value in expected.items():
        if said[name] != value:
            yield f"{wheel.name}: {name} is {said[name]!r}, not {value!r}."
    if len(said.get_all("Project-URL", [])) != len(project.get("urls", {})):
        yield f"{wheel.name}: Project-URL does not tell [project.urls]."
    if not str(said.get_payload()).startswith("# "):
        yield f"{wheel.name}: its description is not README.md."


def _differences(archive: Path, packed: set[str], expected: set[str]) -> Iterator[str]:
    for verb, names in (("lacks", expected - packed), ("has besides", packed - expected)):
        if names:
            yield f"{archive.name} {verb}: {', '.join(sorted(names))}."


def package_files(checkout: Path) -> set[str]:
    """Return the files of the package that git knows."""
    return set(_output(checkout, "git", "ls-files", "sagas").splitlines())


def main(version: str = "") -> int:
    """Return 0 if the release is whole and built."""
    state = state_of(CHECKOUT)
    found = list(problems(version, state))
    if not found:
        sdist, wheel = build(CHECKOUT, DIST)
        files = package_files(CHECKOUT)
        found = list(archive_problems(sdist, wheel, project=state.project, files=files))
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    print(f"{sdist}\n{wheel}\nare built and whole. Nothing was published.")
    return 0


def _built(source: Path, target: str, folder: Path) -> Path:
    """Build into an empty folder first, where what was built is what is there."""
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "hatchling", "build", "--target", target]
        _output(source, *command, "--directory", empty)
        (built,) = Path(empty).iterdir()
        folder.mkdir(exist_ok=True)
        return Path(shutil.move(built, folder / built.name))


def _output(folder: Path, *command: str) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
