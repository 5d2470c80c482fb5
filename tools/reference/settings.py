"""``docs/reference/settings.md``."""

from dataclasses import fields

from sagas import conf
from tools.reference import markdown
from tools.reference.source import sentences, sentences_of_module


INTRODUCTION = """
One dict in the Django settings. A key that is left out has its default; one that is not known, or a value of another type, is refused by
`manage.py check` (`sagas.E001`), with the name that was probably meant. The unit is in the name. Settings are read when they are needed, so
`override_settings(SAGAS={...})` works in a test.

```python
SAGAS = {"LEASE_SECONDS": 30.0, "STEP_QUEUE": "orders"}
```
"""

FIXED = ("MAX_EXECUTION_DURATION", "MAX_RETRY_COUNT", "MAX_ERROR_LENGTH")


def page() -> str:
    """Return the page."""
    said = sentences(conf.SagaSettings)
    keys = [
        [markdown.code(field.name), markdown.code(repr(field.default)), said.get(field.name, "")]
        for field in fields(conf.SagaSettings)
    ]
    fixed = sentences_of_module(conf)
    limits = [[markdown.code(name), str(getattr(conf, name)), fixed[name]] for name in FIXED]
    return markdown.page(
        "Settings: `SAGAS`",
        "sagas/conf.py",
        INTRODUCTION,
        markdown.table(["Key", "Default", "Meaning"], keys),
        "## What cannot be set",
        markdown.table(["Name", "Value", "Meaning"], limits),
    )
