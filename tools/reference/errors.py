"""``docs/reference/errors.md``."""

import inspect
import itertools
import re

from sagas import exceptions
from sagas.exceptions import SagaError
from tools.reference import markdown
from tools.reference.source import one_line


INTRODUCTION = """
All are of `sagas.exceptions`, and all are `SagaError`s: one `except` catches them. `error.code` is stable, and is what stands in the `error_code` columns of
runs and steps; `error.facts` are named values, each an attribute as well (`error.run_id`).

The `error_code` of a step whose handler raised something else is the name of that exception's class.
"""

OTHER = {
    "WAIT_GIVEN_UP": "The saga turned back while the step waited for an outside party.",
    "ROLLED_BACK": "An atomic attempt was given up before it could commit; nothing was written.",
    "STALLED": "Nothing of the saga was ready, running or waiting, and no way on was found.",
    "FAIL_AT": "`sagas.testing.fail_at()` let it fail.",
}


def page() -> str:
    """Return the page."""
    parts = []
    for heading, classes in _sections():
        parts += [f"## {heading}", _table(classes)]
    others = [[markdown.code(code), meaning] for code, meaning in OTHER.items()]
    return markdown.page(
        "Errors",
        "sagas/exceptions.py",
        INTRODUCTION,
        *parts,
        "## Codes that are no class",
        markdown.table(["Code", "Meaning"], others),
    )


def _sections() -> list[tuple[str, list[type[SagaError]]]]:
    """Return the classes below each comment that stands at the margin, which is their heading."""
    found: list[tuple[str, list[type[SagaError]]]] = [("The root", [])]
    pattern = re.compile(r"^# (.+)\.$|^class (\w+)\(", re.MULTILINE)
    for heading, name in pattern.findall(inspect.getsource(exceptions)):
        if heading:
            found.append((heading, []))
        else:
            found[-1][1].append(getattr(exceptions, name))
    return found


def _table(classes: list[type[SagaError]]) -> str:
    rows = [
        [markdown.code(cls.__name__), markdown.code(cls.code), *_documented(cls)] for cls in classes
    ]
    return markdown.table(["Error", "Code", "Meaning", "Facts"], rows)


def _documented(cls: type[SagaError]) -> tuple[str, str]:
    """Return what the docstring says, and which facts it names."""
    paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
    said = itertools.takewhile(lambda text: not text.startswith("Facts: "), paragraphs)
    facts = [text.removeprefix("Facts: ") for text in paragraphs if text.startswith("Facts: ")]
    return one_line(" ".join(said)), one_line(" ".join(facts)).removesuffix(".")
