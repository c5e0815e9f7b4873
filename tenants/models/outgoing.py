"""What models of things that have to reach somebody outside share; `tenants/outbox.py` sends them."""

from typing import Any

from django.db import models


class Outgoing:
    """Waits until it is delivered, or given up."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Given up"

    delivered_at: Any
    given_up_at: Any

    @property
    def state(self) -> str:
        """What became of it."""
        if self.delivered_at is not None:
            return self.State.DELIVERED
        return self.State.WAITING if self.given_up_at is None else self.State.GIVEN_UP
