"""What README tells a project to do, taken from its own text."""

import re
import textwrap
from pathlib import Path

from benchmarks.compatibility.lock import CHECKOUT


def install_section() -> str:
    """Return the text between "Install it in your project" and the next heading."""
    text = (CHECKOUT / "README.md").read_text()
    _, _, rest = text.partition("\n## Install it in your project\n")
    section, heading, _ = rest.partition("\n## ")
    if not heading:
        raise LookupError("README.md has no section that tells how to install.")
    return section


def write_files(project: Path) -> list[str]:
    """Put into a project what the section's code blocks say; each one names its file first.

    A file that is there already, as ``django-admin`` made it, is added to.
    """
    blocks = re.findall(
        r"^( *)```python\n(.*?)\n\1```", install_section(), re.DOTALL | re.MULTILINE
    )
    written = []
    for _, block in blocks:
        heading, _, code = textwrap.dedent(block).partition("\n")
        file = project / heading.removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as opened:
            opened.write(f"\n{code}\n")
        written.append(heading.removeprefix("# "))
    return written
