"""``python -m tests.faults.model``: take each mend out, let the search find the fault, write the table."""

import os
from pathlib import Path

import django

from benchmarks.plant.report import table, write_section
from tests.faults.mended import UNTRUE_ENDS


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.faults.model.explore import explore  # noqa: E402 Django comes first
from tests.faults.model.mended import BY_KIND  # noqa: E402
from tests.faults.simulation.mutants import SEEDS  # noqa: E402


PAGE = Path("docs/faults.md")


def row(kind: str) -> tuple[str, str, str, str, int, int, int]:
    """Return a line of the table: the fault, and how the search came to it."""
    search = explore(BY_KIND[kind].mutated)
    assert search.broken == BY_KIND[kind].breaks, search
    states, actions = len(search.states), len(search.trace)
    told = kind, UNTRUE_ENDS[kind], search.plan.name, search.broken
    return *told, states, actions, SEEDS[kind]


def text() -> str:
    """Return the section."""
    columns = ["", "fault", "saga", "promise that breaks", "states", "actions", "life"]
    return "\n\n".join(
        (
            "## Faults that come back when their mends are taken out",
            (
                "`python -m tests.faults.model` searches every state of a small saga, breadth first, by a model"
                " of the engine that is compared with it on both databases. With the mend it finds nothing to"
                " the last state; without, it stops after so many states at the fault, which takes this many"
                " actions of workers, messages, time and people. *Life* is one of the simulation, by its seed,"
                " in which the real engine without that mend says what is not so in the world around it:"
                " found among random lives of the likely kinds, and played in every `make test`, with the"
                " mend and without."
            ),
            table(columns, [row(kind) for kind in UNTRUE_ENDS], words=4),
        )
    )


if __name__ == "__main__":
    write_section(PAGE, "mended", text())
