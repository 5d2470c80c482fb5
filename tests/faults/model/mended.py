"""Each mended kind of fault with its mend taken out: the search must find the fault by itself."""

from tests.faults.model import mended_plans as plans
from tests.faults.model.mutants import FORWARD_AFTER_UNDO, REVERSE, UNDONE, Mutant


NO_STRAY = "a refusing world keeps no stray"
HOLDS = "what holds is left to a human"

BY_KIND = {
    "A1": Mutant("a late doubt is taken up", plans.LATE_WORDS, UNDONE),
    "A2": Mutant("a condition is asked once", plans.CONDITION, UNDONE),
    "A3": Mutant("every end hears of success", plans.SKIPPED_BY_HAND, UNDONE),
    "A4": Mutant("an end looks at the steps themselves", plans.UNDONE_BY_HAND, UNDONE),
    "A5": Mutant("a skipped pivot is passed", plans.SKIPPED_PIVOT, UNDONE),
    "A6": Mutant("our own errors leave doubt", plans.LATE_WORDS, UNDONE),
    "A7": Mutant("a second life inherits no progress", plans.PROGRESS, UNDONE),
    "A8": Mutant(
        "a claim looks at the direction",
        plans.PUT_BACK,
        FORWARD_AFTER_UNDO,
        also=frozenset({"what is put back is shut", "strays are shut before undoing"}),
    ),
    "A9": Mutant("no is final at the end alone", plans.AT_LARGE, NO_STRAY),
    "A10": Mutant("an undo that is repeated keeps the order", plans.LATE_WORDS, REVERSE),
    "A11": Mutant("a hold is kept whatever turns back", plans.HELD, HOLDS),
}
