"""What a long run shows while it runs: one line that changes on a terminal, plain lines elsewhere."""

import sys
import time
from dataclasses import dataclass, field


PLAIN_SECONDS = 10.0


@dataclass(kw_only=True)
class Progress:
    """Shows a line at most once a second, or once in a while where lines stay."""

    live: bool = field(default_factory=sys.stdout.isatty)
    _began: float = field(default_factory=time.monotonic)
    _last: float = float("-inf")

    def show(self, text: str) -> None:
        """Show it, unless the line before is too young."""
        now = time.monotonic()
        if now - self._last < (1.0 if self.live else PLAIN_SECONDS):
            return
        self._last = now
        line = f"{now - self._began:5.0f} s  {text}"
        print(f"\r{line}\x1b[K" if self.live else line, end="" if self.live else "\n", flush=True)

    def end(self) -> None:
        """Leave the line as it is."""
        if self.live:
            print()
