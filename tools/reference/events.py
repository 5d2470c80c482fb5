"""``docs/reference/events.md``."""

from sagas.states import EventType
from tools.reference import markdown
from tools.reference.source import sentences


INTRODUCTION = """
A `SagaEvent` is written in the transaction of the change that it tells of, and never changed. It has `run`, `step` (of an event of a step), `type`,
`from_state` and `to_state` (of one that changed a state), `attempt`, `actor` (who it was, if somebody asked for it), `note` and `at`. The events of a
run, replayed in the order of their ids, give the states of its rows.

```python
for event in run.events.all():
    print(event.at, event.get_type_display(), event.step or "", event.note)
```

Each is a log line as well, of the logger `sagas`, with the type as its `action`.
"""


def page() -> str:
    """Return the page."""
    of_step = [member for member in EventType if _is_of_step(member)]
    of_run = [member for member in EventType if not _is_of_step(member)]
    return markdown.page(
        "Events",
        "sagas/states/events.py",
        INTRODUCTION,
        "## Of a run",
        _table(of_run),
        "## Of a step",
        _table(of_step),
    )


def _is_of_step(member: EventType) -> bool:
    return member.value.startswith(("step_", "handler_"))


def _table(members: list[EventType]) -> str:
    said = sentences(EventType)
    rows = [
        [markdown.code(member.value), str(member.label), said[member.name]] for member in members
    ]
    return markdown.table(["`type`", "Shown as", "Meaning"], rows)
