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
@pytest.mark.parametrize("theme", range(2), ids=["light", "dark"])
def test_every_state_is_readable(tone: str, theme: int) -> None:
    (rule,) = re.findall(rf"^\.saga-{tone} {{([^}}]*)}}", CSS, re.MULTILINE)
    text, ground = re.findall(r"light-dark\((#\w{6}), (#\w{6})\);", rule)
    assert contrast(text[theme], ground[theme]) >= 4.5


def test_both_ways_to_be_dark_look_the_same() -> None:
    assert "prefers-color-scheme" not in CSS
    assert "data-theme" not in CSS
    assert re.findall(r"#[0-9a-f]{6}", re.sub(r"light-dark\(.*?\)", "", CSS)) == []


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
