"""``make install`` makes the same environment today and after everything has had a new release."""

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.compatibility import interpreters, lock
from tests.packaging import wheels
from tests.packaging.environments import isolated, run


HERE = interpreters.find()
NEWER = "9999"
LEARNED = (23, 3)
"""From this pip on, a requirement with an extra may be met by the release that the lock names."""


@dataclass(frozen=True)
class Index:
    """A folder of wheels, and the lock that was made before the newest of them were there."""

    folder: Path
    lock: str


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Every locked package with its requirements, empty inside, and a newer release of each."""
    folder = tmp_path_factory.mktemp("index")
    lines = []
    for requirement in lock.locked():
        name, pinned = requirement.name, lock.version_of(requirement)
        needs, extras = _metadata(name)
        wheel = wheels.invent(folder, name, pinned, requires=needs, extras=extras)
        wheels.invent(folder, name, NEWER, requires=needs, extras=extras)
        lines.append(f"{requirement} --hash={wheels.digest(wheel)}")
    return Index(folder, "\n".join(lines))


def _metadata(name: str) -> tuple[list[str], list[str]]:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return [], []
    return found.requires or [], found.metadata.get_all("Provides-Extra") or []


OLDEST, *OTHERS = HERE


@pytest.mark.parametrize(
    "python",
    [OLDEST, *(pytest.param(python, marks=pytest.mark.slow) for python in OTHERS)],
    ids=lambda python: python.full_version,
)
def test_newer_releases_of_everything_change_nothing(
    python: interpreters.Interpreter, index: Index, tmp_path: Path
) -> None:
    _run_makefile(python, index, tmp_path)
    assert _installed(tmp_path / ".venv") == lock.locked_for(python.markers)


def test_the_index_is_one_that_an_older_installer_stumbles_over_when_it_resolves(
    index: Index, tmp_path: Path
) -> None:
    complaint = ""
    try:
        _run_makefile(OLDEST, index, tmp_path, without="--no-deps")
    except subprocess.CalledProcessError as failed:
        complaint = failed.stderr
    assert ("coverage[toml]" in complaint) is (_bundled_pip(OLDEST) < LEARNED)


def _run_makefile(
    python: interpreters.Interpreter, index: Index, folder: Path, *, without: str = ""
) -> None:
    """Do what ``make install`` does, up to the package itself, which is not in the index."""
    (folder / "requirements.lock").write_text(index.lock)
    (folder / "pyproject.toml").write_text((lock.CHECKOUT / "pyproject.toml").read_text())
    makefile = f"--makefile={lock.CHECKOUT / 'Makefile'}"
    make = ["make", makefile, "--dry-run", "--always-make", "install", f"PYTHON={python.path}"]
    *commands, package = lock.install_commands(run(make, cwd=folder))
    assert package.endswith("--editable .")
    for command in commands:
        words = [word for word in command.split() if word != without]
        run(words, cwd=folder, env=isolated(index.folder))


def _installed(venv: Path) -> dict[str, str]:
    (packages,) = venv.glob("lib/python*/site-packages")
    found = {
        canonicalize_name(one.name): one.version for one in distributions(path=[str(packages)])
    }
    return {name: at for name, at in found.items() if name not in {"pip", "setuptools"}}


def _bundled_pip(python: interpreters.Interpreter) -> tuple[int, ...]:
    said = run([str(python.path), "-m", "ensurepip", "--version"])
    return tuple(int(part) for part in said.split()[1].split(".")[:2])


# What is locked is all that is needed.


@pytest.mark.parametrize("python", interpreters.SUPPORTED)
def test_the_lock_holds_all_that_follows_from_it(python: str) -> None:
    markers = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = lock.closure(lock.declared(groups=True), markers)
    assert _missing(wanted, lock.locked_for(markers)) == []


def test_a_package_that_is_not_locked_or_too_old_is_noticed() -> None:
    wanted = [Requirement("celery>=9"), Requirement("not-there"), Requirement("django")]
    found = _missing(wanted, lock.locked_for({}))
    assert found == ["celery>=9", "not-there"]


def _missing(wanted: Iterable[Requirement], versions: Mapping[str, str]) -> list[str]:
    return [
        str(requirement)
        for requirement in wanted
        if not requirement.specifier.contains(
            versions.get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
        or canonicalize_name(requirement.name) not in versions
    ]


def test_the_environment_is_the_lock_and_agrees_with_itself() -> None:
    versions = lock.locked_for({})
    assert {name: version(name) for name in versions} == versions
    run([sys.executable, "-m", "pip", "--isolated", "check"])


def test_the_package_is_built_with_what_is_locked(tmp_path: Path) -> None:
    build = "import sys, hatchling.build; hatchling.build.build_editable(sys.argv[1])"
    run([sys.executable, "-c", build, str(tmp_path)], cwd=lock.CHECKOUT)
    assert len([*tmp_path.glob("*.whl")]) == 1
