"""What ``requirements.lock`` and ``pyproject.toml`` say."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


CHECKOUT = Path(__file__).resolve().parent.parent.parent
LOCK = CHECKOUT / "requirements.lock"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
NAME: str = PROJECT["project"]["name"]


def locked() -> list[Requirement]:
    """Return every line of the lock, without its hashes."""
    text = LOCK.read_text().replace("\\\n", " ")
    lines = (line.split("--hash")[0].split("#")[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def locked_for(environment: Mapping[str, str]) -> dict[str, str]:
    """Return name and version of all that the lock installs in an environment."""
    return {
        canonicalize_name(requirement.name): version_of(requirement)
        for requirement in locked()
        if requirement.marker is None or requirement.marker.evaluate(dict(environment))
    }


def version_of(requirement: Requirement) -> str:
    """Return the one version that a line of the lock allows."""
    (specifier,) = requirement.specifier
    return specifier.version


def declared(*, groups: bool = False) -> list[Requirement]:
    """Return what the package says it needs; with ``groups`` also what its developers need."""
    found = [*PROJECT["project"]["dependencies"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        found += extra
    if groups:
        for group in PROJECT["dependency-groups"].values():
            found += group
    return [Requirement(text) for text in found]


def closure(
    requirements: Iterable[Requirement],
    environment: Mapping[str, str] | None = None,
    *,
    every_extra: bool = False,
) -> Iterator[Requirement]:
    """Yield these requirements and all that follow from them, as the installed metadata tells.

    With ``every_extra`` also what nobody asked for.
    """
    waiting, seen = [*requirements], set()
    while waiting:
        requirement = waiting.pop()
        yield requirement
        for extra in {"", *(_extras(requirement.name) if every_extra else requirement.extras)}:
            key = (canonicalize_name(requirement.name), extra)
            if key not in seen:
                seen.add(key)
                waiting += _required_by(requirement.name, extra, environment or {})


def _extras(name: str) -> list[str]:
    try:
        return distribution(name).metadata.get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []


def _required_by(name: str, extra: str, environment: Mapping[str, str]) -> list[Requirement]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        return []  # for another interpreter or platform
    found = [Requirement(text) for text in texts]
    where = {**environment, "extra": extra}
    return [one for one in found if one.marker is None or one.marker.evaluate(where)]


def install_commands(make: str) -> list[str]:
    """Return the commands of a dry run of ``make install``, one a line."""
    return [line for line in make.splitlines() if re.search(r"-m (venv|pip) ", line)]
