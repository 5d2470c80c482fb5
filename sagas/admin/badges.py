"""States as icon and word, so that colour is never the only sign."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from sagas.models import SagaRun
from sagas.states import SagaState, StepState


_LOOKS: dict[str, tuple[str, str]] = {
    "pending": ("neutral", "○"),
    "ready": ("active", "◔"),
    "running": ("active", "▶"),
    "waiting": ("active", "◷"),
    "compensating": ("warning", "↩"),
    "completed": ("good", "✔"),
    "succeeded": ("good", "✔"),
    "compensated": ("undone", "↺"),
    "cancelled": ("neutral", "⊘"),
    "skipped": ("neutral", "»"),
    "resolved": ("neutral", "✎"),
    "failed": ("bad", "✖"),
    "dead_letter": ("bad", "✖"),
    "unknown": ("warning", "?"),
}


def state_badge(state: SagaState | StepState) -> SafeString:
    """Return the badge of a state."""
    tone, icon = _LOOKS[state.value]
    return badge(tone, icon, str(state.label))


def run_badges(run: SagaRun) -> SafeString:
    """Return the badges of a run: its state, whether it is paused, and whether to follow up."""
    found = [state_badge(SagaState(run.state))]
    if run.paused_at is not None:
        found.append(badge("warning", "⏸", _("Paused")))
    if run.has_warnings:
        found.append(badge("warning", "!", _("Follow up")))
    return format_html_join(" ", "{}", ((each,) for each in found))


def badge(tone: str, icon: str, word: str) -> SafeString:
    """Return an icon and a word on the colours of ``tone``."""
    return format_html(
        '<span class="saga-badge saga-{}"><span aria-hidden="true">{}</span> {}</span>',
        tone,
        icon,
        word,
    )
