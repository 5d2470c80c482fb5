"""The pages of docs/reference and the words of the glossary are as the code says."""

import ast
import re
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import pytest

import sagas
from sagas.checks import ids
from sagas.conf import SagaSettings
from sagas.definitions.meta import RULES, RunPlan, SagaMeta
from sagas.definitions.options import STEP_RULES
from sagas.states import EventType, SagaState, StepState
from tools.reference import options
from tools.reference.errors import OTHER
from tools.reference.pages import DOCS, PAGES
from tools.reference.source import sentences


HOUSE = Path(sagas.__file__).parent
IDS = Path(ids.__file__)
ID = re.compile(r"sagas\.[EW]\d{3}")


def strings(path: Path) -> set[str]:
    """Return the texts that stand alone in a module's source."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_make_reference_writes(path: Path) -> None:
    assert path.read_text() == PAGES[path](), "run make reference"


def test_every_page_in_the_folder_is_written_by_it() -> None:
    assert set((DOCS / "reference").glob("*.md")) == {
        p for p in PAGES if p.parent.name == "reference"
    }


class TestSentences:
    """What has no sentence in the source has none on its page."""

    def test_every_setting_has_one(self) -> None:
        assert sentences(SagaSettings).keys() == {field.name for field in fields(SagaSettings)}

    def test_every_option_of_a_step_has_one(self) -> None:
        assert options.sentences_of_options().keys() == STEP_RULES.keys()

    def test_every_option_of_a_saga_has_one(self) -> None:
        assert sentences(SagaMeta).keys() | sentences(RunPlan).keys() == RULES.keys()

    @pytest.mark.parametrize("enum", [SagaState, StepState, EventType])
    def test_every_state_and_every_event_has_one(self, enum: type) -> None:
        assert list(sentences(enum)) == list(enum.__members__)  # type: ignore[attr-defined]


class TestGlossary:
    @pytest.mark.parametrize("term", [*SagaState.values, *StepState.values, *EventType.values])
    def test_every_state_and_every_event_is_a_term(self, term: str) -> None:
        assert f"| `{term}` |" in (DOCS / "glossary.md").read_text()


class TestChecks:
    def test_every_id_of_a_check_is_in_the_table_and_no_other(self) -> None:
        given = {
            text
            for path in HOUSE.rglob("*.py")
            if path != IDS
            for text in strings(path)
            if ID.fullmatch(text)
        }
        assert given == ids.ALWAYS.keys() | ids.DEPLOY.keys()

    def test_an_id_means_one_thing(self) -> None:
        rooms = defaultdict(set)
        for path in HOUSE.rglob("*.py"):
            for text in strings(path):
                if path != IDS and ID.fullmatch(text):
                    rooms[text].add(path.relative_to(HOUSE))
        assert {id_: found for id_, found in rooms.items() if len(found) > 1} == {}
        assert not ids.ALWAYS.keys() & ids.DEPLOY.keys()

    def test_what_pages_say_of_ids_is_of_known_ones(self) -> None:
        pages = [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]
        said = {id_ for page in pages for id_ in ID.findall(page.read_text())}
        assert said <= ids.ALWAYS.keys() | ids.DEPLOY.keys()


def test_the_codes_that_are_no_class_are_in_the_source() -> None:
    assert set(OTHER) <= {text for path in HOUSE.rglob("*.py") for text in strings(path)}


ROOMS = [HOUSE, DOCS.parent]
PLACE = re.compile(r"`([\w/]+\.(?:py|sql|toml|md))`(?: \(([^)]*`\w+`[^)]*)\))?")


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_what_a_page_for_contributors_points_to_is_there(page: str) -> None:
    """A file from the root or in ``sagas``; and, in brackets behind it, names in that file."""
    for path, names in PLACE.findall((DOCS.parent / page).read_text()):
        found = [room / path for room in ROOMS if (room / path).exists()]
        assert found, path
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b{name}\b", found[0].read_text()), f"{path}: {name}"


def test_the_index_has_every_page() -> None:
    index = DOCS / "README.md"
    listed = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert {page.resolve() for page in DOCS.rglob("*.md")} - listed == {index}


def test_no_link_between_pages_is_dead() -> None:
    for page in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            target, _, anchor = link.partition("#")
            if target.startswith(("http:", "https:")):
                continue
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), f"{page.name}: {link}"
            if anchor and path.suffix == ".md":
                assert anchor in anchors(path), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page are linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }
