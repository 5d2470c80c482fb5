"""How the house is built: one writer of state, small rooms with telling names (R125)."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import sagas
from sagas.states import Direction, EventType, SagaState, StepState
from tests.longest_first import LONGEST, TESTS


HOUSE = Path(sagas.__file__).parent
MODULES = sorted(p for p in HOUSE.rglob("*.py") if "migrations" not in p.parts)

STATEMENTS = sorted(HOUSE.rglob("*.sql"))
STATES = frozenset({*SagaState.values, *StepState.values})

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_NAMES = 12
MAX_EXPORTS = 16

# What may be longer, and why.
LONG_FILES: dict[str, str] = {"exceptions.py": "a list: each error by itself is short"}
LONG_FUNCTIONS: dict[str, str] = {}

WRITERS = {"update", "create", "get_or_create", "update_or_create", "SagaRun", "StepRun"}


def name_of(path: Path) -> str:
    return path.relative_to(HOUSE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def state_writes(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that write a state: by keyword, by assignment, by name or in SQL."""
    for node in ast.walk(tree):
        if (
            (isinstance(node, ast.Call) and _writes_by_call(node))
            or (isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and _assigns(node))
            or (isinstance(node, ast.Constant) and _is_sql(node.value))
        ):
            yield node.lineno


def _writes_by_call(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    name = call.func.id if isinstance(call.func, ast.Name) else name
    if name == "setattr":
        return not isinstance(call.args[1], ast.Constant) or call.args[1].value == "state"
    return name in WRITERS and "state" in _keywords(call)


def _keywords(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        for node in ast.walk(keyword.value):
            if isinstance(node, ast.Dict) and (keyword.arg in {None, "defaults"}):
                yield from (key.value for key in node.keys if isinstance(key, ast.Constant))  # type: ignore[misc]


def _assigns(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(target, ast.Attribute) and target.attr == "state" for target in targets)


def _is_sql(value: object) -> bool:
    text = " ".join(value.lower().split()) if isinstance(value, str) else ""
    return re.search(r'update "?sagas_', text) is not None


def saves(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that save a model, which would write whatever it holds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"save", "asave", "save_base"}:
            yield node.lineno


class TestWriterOfState:
    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_only_the_transitions_write_a_state(self, path: Path) -> None:
        if path.is_relative_to(HOUSE / "engine" / "transitions"):
            return
        assert list(state_writes(tree_of(path))) == []

    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_nothing_is_loaded_changed_and_saved(self, path: Path) -> None:
        assert list(saves(tree_of(path))) == []

    @pytest.mark.parametrize(
        "code",
        [
            "SagaRun.objects.update(state=1)",
            "rows.filter(pk=1).update(updated_at=2, state='x')",
            "StepRun(name='x', state='ready')",
            "rows.update(**{'state': 'x'})",
            "SagaRun.objects.get_or_create(pk=1, defaults={'state': 'x'})",
            "run.state = 'running'",
            "setattr(run, column, value)",
            "cursor.execute('UPDATE sagas_sagarun SET x = 1')",
        ],
    )
    def test_the_test_itself_sees_a_write(self, code: str) -> None:
        assert list(state_writes(ast.parse(code))) == [1]

    def test_the_transitions_are_where_states_are_written(self) -> None:
        written = {name_of(p) for p in MODULES if list(state_writes(tree_of(p)))}
        assert written
        assert all(name.startswith("engine/transitions/") for name in written)


def groups_of_states(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that write out a set, a tuple or a list of states, also as plain words."""
    keys = {id(node.slice) for node in ast.walk(tree) if isinstance(node, ast.Subscript)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Set | ast.Tuple | ast.List) or id(node) in keys:
            continue
        states = sum(_is_state(each) for each in node.elts)
        words = [each.value for each in node.elts if isinstance(each, ast.Constant)]
        others = sum(isinstance(each, ast.Starred) for each in node.elts)
        is_set = isinstance(node, ast.Set)
        if (states and (is_set or states + others > 1)) or _are_states(words):
            yield node.lineno


def _is_state(node: ast.expr) -> bool:
    enums = {SagaState.__name__, StepState.__name__}
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in enums
        and node.attr.isupper()
    )


def _are_states(words: Sequence[object]) -> bool:
    return len(words) > 1 and STATES.issuperset(words)


class TestStates:
    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_a_group_of_states_has_its_name_in_one_room(self, path: Path) -> None:
        if path.parent != HOUSE / "states":
            assert list(groups_of_states(tree_of(path))) == []

    @pytest.mark.parametrize(
        "code",
        [
            "state in {StepState.FAILED, StepState.UNKNOWN}",
            "state in {*ACTIVE_SAGAS, SagaState.COMPLETED}",
            "DONE | {StepState.FAILED}",
            "rows.filter(state__in=(StepState.FAILED, StepState.UNKNOWN))",
            "frozenset([SagaState.RUNNING, SagaState.COMPLETED])",
            "Q(state__in=('running', 'waiting'))",
        ],
    )
    def test_the_test_itself_sees_a_group(self, code: str) -> None:
        assert list(groups_of_states(ast.parse(code))) == [1]

    @pytest.mark.parametrize("path", STATEMENTS, ids=name_of)
    def test_a_statement_has_its_groups_from_there(self, path: Path) -> None:
        text = re.sub(r"--.*", "", path.read_text())
        assert not re.findall(r"IN \('", text)
        words = set(re.findall(r"'([a-z_]+)'", text))
        assert words <= STATES | {*Direction.values, *EventType.values}


def loose_options(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that read an option of a row by its key, without a type or a default."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Subscript | ast.Attribute):
            continue
        is_read = isinstance(node, ast.Subscript) or node.attr in {"get", "pop"}
        if is_read and isinstance(node.value, ast.Attribute) and node.value.attr == "options":
            yield node.lineno


class TestOptions:
    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_a_row_s_options_are_read_by_its_plan(self, path: Path) -> None:
        if not path.is_relative_to(HOUSE / "definitions"):
            assert list(loose_options(tree_of(path))) == []

    @pytest.mark.parametrize("code", ["step.options.get('x')", "run.options['x'] == 1"])
    def test_the_test_itself_sees_a_loose_one(self, code: str) -> None:
        assert list(loose_options(ast.parse(code))) == [1]


class TestRooms:
    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_a_file_is_read_in_one_go(self, path: Path) -> None:
        lines = len(path.read_text().splitlines())
        assert lines <= MAX_FILE_LINES or name_of(path) in LONG_FILES

    @pytest.mark.parametrize("path", MODULES, ids=name_of)
    def test_a_function_is_read_in_one_go(self, path: Path) -> None:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                place = f"{name_of(path)}:{node.name}"
                assert lines <= MAX_FUNCTION_LINES or place in LONG_FUNCTIONS, place

    def test_an_exception_that_is_no_longer_needed_is_taken_back(self) -> None:
        for name in LONG_FILES:
            assert len((HOUSE / name).read_text().splitlines()) > MAX_FILE_LINES
        for place in LONG_FUNCTIONS:
            name, _, function = place.partition(":")
            found = [
                (node.end_lineno or 0) - node.lineno + 1
                for node in ast.walk(tree_of(HOUSE / name))
                if isinstance(node, ast.FunctionDef) and node.name == function
            ]
            assert max(found) > MAX_FUNCTION_LINES

    def test_the_package_root_has_few_names(self) -> None:
        """The packages are rooms; beside them are few modules, and few names to import.

        Where an app has its ``apps`` and its ``urls`` is Django's to say.
        """
        modules = {path.stem for path in HOUSE.glob("*.py")} - {"apps", "urls"}
        assert len(modules) <= MAX_NAMES
        assert len(sagas.__all__) <= MAX_EXPORTS

    def test_no_module_is_named_utils_or_helpers(self) -> None:
        empty = {"utils", "util", "helpers", "helper", "manager", "managers", "core", "common"}
        assert [name_of(path) for path in MODULES if path.stem in empty] == []

    def test_every_module_says_what_it_is_for(self) -> None:
        silent = [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))]
        assert silent == []


def test_the_benchmarks_know_no_test() -> None:
    benchmarks = HOUSE.parent / "benchmarks"
    for path in benchmarks.rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in named if name.split(".")[0] == "tests"], path


def test_the_files_that_take_longest_are_there() -> None:
    assert [name for name in LONGEST if not (TESTS / name).is_file()] == []
