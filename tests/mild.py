"""A saga with a best-effort step in its middle and one at its end, all of them undoable."""

from sagas import step
from tests.traced import Receipt, Traced


class Mild(Traced):
    """a → note (best effort) → b → tell (best effort)."""

    class Meta:
        label = "tests.Mild"
        step_defaults = {"max_retries": 1, "retry_jitter": False}

    @step
    def a(self) -> Receipt:
        return self.act("a")

    @a.compensation
    def undo_a(self, receipt: Receipt | None) -> None:
        self.undo("undo_a", receipt)

    @step(critical=False)
    def note(self) -> Receipt:
        return self.act("note")

    @note.compensation
    def undo_note(self, receipt: Receipt | None) -> None:
        self.undo("undo_note", receipt)

    @step
    def b(self) -> Receipt:
        return self.act(f"b after {self.note.result_or(Receipt('nothing')).of}")

    @b.compensation
    def undo_b(self, receipt: Receipt | None) -> None:
        self.undo("undo_b", receipt)

    @step(critical=False)
    def tell(self) -> Receipt:
        return self.act("tell")

    @tell.compensation
    def undo_tell(self, receipt: Receipt | None) -> None:
        self.undo("undo_tell", receipt)
