"""The mail provider."""

from examples.shop.services import effects


SERVICE = "notifications"
CONFIRM = "confirm"


def send_confirmation(order_id: int, customer_id: str, tracking: str, *, key: str) -> None:
    """Tell the customer that the goods are on their way."""
    effects.perform(
        SERVICE,
        CONFIRM,
        key=key,
        order_id=order_id,
        details={"customer": customer_id, "tracking": tracking},
    )
