"""A saga with steps for which it does not wait."""

from sagas import step
from tests.traced import Receipt, Traced


class Letter(Traced):
    """a, then {note, for which nobody waits ∥ b}, then the letter, for which nobody waits either."""

    class Meta:
        label = "tests.Letter"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @a.compensation
    def undo_a(self, receipt: Receipt | None) -> None:
        self.undo("undo_a", receipt)

    @step(critical=False, wait=False)
    def note(self) -> Receipt:
        return self.act("note")

    @note.compensation
    def undo_note(self, receipt: Receipt | None) -> None:
        self.undo("undo_note", receipt)

    @step
    def b(self) -> Receipt:
        return self.act("b")

    @b.compensation
    def undo_b(self, receipt: Receipt | None) -> None:
        self.undo("undo_b", receipt)

    @step(critical=False, wait=False)
    def letter(self) -> Receipt:
        return self.act("letter")

    letter.no_compensation("a letter cannot be called back")
