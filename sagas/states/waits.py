"""For what a step can wait."""

from enum import StrEnum


class WaitKind(StrEnum):
    """Who ends a wait."""

    OUTSIDE = "outside"
    """An outside party, which answers the request."""

    APPROVAL = "approval"
    """A person, who approves or rejects."""

    REMOTE = "remote"
    """A Celery task of another code base, by its link and its error link."""

    CHILD = "child"
    """The end of a child saga."""
