"""``docs/reference/checks.md``."""

from collections.abc import Mapping

from sagas.checks.ids import ALWAYS, DEPLOY
from tools.reference import markdown


INTRODUCTION = """
`manage.py check` names what is wrong with sagas and settings, `manage.py check --deploy` also what would lose or slow them in production; `--tag sagas` shows
these alone. Every message has an id, says what breaks, and has a hint that cures it. An error of a saga's declaration keeps `start_saga()` from
starting it. A warning that you have thought about is silenced by its id:

```python
SILENCED_SYSTEM_CHECKS = ["sagas.W010"]
```
"""


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Checks",
        "sagas/checks/ids.py",
        INTRODUCTION,
        "## Always",
        _table(ALWAYS),
        "## With `--deploy`",
        "A worker says what is about its pool at its start as well, for no setting knows what `-P` chose.",
        _table(DEPLOY),
    )


def _table(ids: Mapping[str, str]) -> str:
    return markdown.table(
        ["Id", "Meaning"], [[markdown.code(id_), says] for id_, says in ids.items()]
    )
