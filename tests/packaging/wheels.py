"""Wheels without an index: invented ones, and the ones that this environment was made of."""

import base64
import hashlib
import sysconfig
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath


EMPTY_TAG = "py3-none-any"


def invent(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Iterable[str] = (),
    extras: Iterable[str] = (),
) -> Path:
    """Write a wheel that holds nothing but its metadata."""
    escaped = name.replace("-", "_")
    headers = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {requirement}" for requirement in requires),
        *(f"Provides-Extra: {extra}" for extra in extras),
    ]
    info = f"{escaped}-{version}.dist-info"
    tag = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {EMPTY_TAG}\n"
    files = {f"{info}/METADATA": "\n".join(headers).encode(), f"{info}/WHEEL": tag.encode()}
    return _write(folder / f"{escaped}-{version}-{EMPTY_TAG}.whl", files, info)


def pack(distribution: Distribution, folder: Path) -> Path:
    """Make the wheel again that an installed distribution came from."""
    home = Path(sysconfig.get_path("purelib"))
    inside = [
        path
        for path in (PurePosixPath(file.as_posix()) for file in distribution.files or ())
        # Scripts lie outside, and the installer makes them anew from the entry points.
        if ".." not in path.parts and "__pycache__" not in path.parts
    ]
    info = next(path.parts[0] for path in inside if path.name == "METADATA")
    left_out = {
        f"{info}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }
    files = {str(path): (home / path).read_bytes() for path in inside if str(path) not in left_out}
    tags = [
        line.removeprefix("Tag: ")
        for line in files[f"{info}/WHEEL"].decode().splitlines()
        if line.startswith("Tag: ")
    ]
    return _write(folder / f"{info.removesuffix('.dist-info')}-{_united(tags)}.whl", files, info)


def digest(wheel: Path) -> str:
    """Return what a lock says of a wheel."""
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def _united(tags: list[str]) -> str:
    """Tags that differ in one part, such as two platforms, are one with dots in a file's name."""
    return "-".join(
        ".".join(dict.fromkeys(tag.split("-")[part] for tag in tags)) for part in range(3)
    )


def _write(wheel: Path, files: Mapping[str, bytes], info: str) -> Path:
    record = [
        f"{name},sha256={_record_hash(content)},{len(content)}" for name, content in files.items()
    ]
    record.append(f"{info}/RECORD,,")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/RECORD", "\n".join(record))
    return wheel


def _record_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
