"""``raise Approval(...)``: a person decides whether the saga goes on."""

from datetime import timedelta
from typing import Any

from sagas.exceptions import SagaDefinitionError, Wait


ANSWER_PERMISSION = "sagas.answer_step_sagarun"


class Approval(Wait):
    """A person is to approve this step; until then it waits in its row, and no worker does.

    ``raise Approval("refund over 500", permission="shop.approve_refund", four_eyes=True)``. Whoever
    approves or rejects needs the ``permission``; with ``four_eyes`` two of them approve, and one
    rejects. Nobody in time is a definite failure, as a rejection is. ``timeout`` is that of a
    :class:`~sagas.exceptions.Wait`; after ``remind_after``, seconds or a timedelta, an event reminds once.
    """

    code = "APPROVAL"

    def __init__(
        self,
        message: str = "",
        *,
        permission: str = ANSWER_PERMISSION,
        four_eyes: bool = False,
        timeout: float | timedelta | None = None,
        remind_after: float | timedelta | None = None,
        **facts: Any,
    ) -> None:
        """Keep the terms.

        Raises:
            SagaDefinitionError: the permission is not written as Django does, ``app.codename``.
        """
        super().__init__(message, timeout=timeout, **facts)
        if not all(permission.partition(".")):
            text = f"{permission!r} is no permission; write it as 'shop.approve_refund'"
            raise SagaDefinitionError(text)
        self.permission = permission
        self.four_eyes = four_eyes
        self.remind_after = Wait(timeout=remind_after).timeout
