"""The kinds of fault of one family that were found and mended: it said it was undone, and it was not.

Their names are one list for whoever takes a mend out and shows that the fault is found again.
"""

UNTRUE_ENDS = {
    "A1": "a late outcome that is not definite is dropped",
    "A2": "a later answer overrides the doubt of an earlier attempt",
    "A3": "a late success of a step that was skipped, cancelled or settled is dropped",
    "A4": "ends are judged by the compensations alone",
    "A5": "a pivot that is skipped is not passed, yet nothing undoes what follows it",
    "A6": "an error of the engine after a handler began counts as a definite failure",
    "A7": "the second life of a compensation goes on from the heartbeat of the first",
    "A8": "a step becomes ready, or is claimed, in a saga that turned back",
    "A9": "it is asked about, and denied, while an attempt may still act",
    "A10": "what is undone once more is not undone in order",
    "A11": "a hold is forgotten when the saga turns back for another reason",
}
