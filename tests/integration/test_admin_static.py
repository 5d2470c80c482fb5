"""What the admin's pages are made of: nothing inline, and colours that can be read."""

import re
from pathlib import Path

import pytest

import sagas


PACKAGE = Path(sagas.__file__).parent
TEMPLATES = sorted((PACKAGE / "templates").rglob("*.html"))
CSS = (PACKAGE / "static/sagas/admin.css").read_text()
TONES = ("active", "good", "warning", "bad", "undone", "neutral")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_no_template_has_inline_style_or_script(template: Path) -> None:
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", template.read_text())


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("theme", range(3), ids=["light", "dark by system", "dark by choice"])
def test_every_state_is_readable(tone: str, theme: int) -> None:
    text = re.findall(rf"--saga-{tone}-fg: (#\w{{6}})", CSS)[theme]
    ground = re.findall(rf"--saga-{tone}-bg: (#\w{{6}})", CSS)[theme]
    assert contrast(text, ground) >= 4.5


def test_both_ways_to_be_dark_look_the_same() -> None:
    for tone in TONES:
        for part in ("fg", "bg"):
            _, by_system, by_choice = re.findall(rf"--saga-{tone}-{part}: (#\w{{6}})", CSS)
            assert by_system == by_choice


def test_no_module_of_the_admin_writes_a_state() -> None:
    sources = [path.read_text() for path in (PACKAGE / "admin").glob("*.py")]
    assert not [source for source in sources if re.search(r"\.update\(|\.save\(", source)]


def contrast(one: str, other: str) -> float:
    """WCAG 2: relative luminance of the lighter against that of the darker."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
