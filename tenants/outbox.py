"""What has to reach somebody outside: sent again, ever more rarely, until it arrived or a day is over.

What waits is claimed for a minute before it is sent, so that no transaction waits for somebody else's server; whoever dies
with it lets another try after that. It may therefore arrive twice: its id says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from smtplib import SMTPException
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.db.models import Manager, Model
from django.utils import timezone

from tenants.webhooks import NotDelivered

RUN_FOR = 60.0  # seconds, then the next run goes on
CLAIM = timedelta(minutes=1)
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=1)
NO_EMAILS = "This gateway sends no e-mails until an operator sets EMAIL_HOST."
SMTP = "django.core.mail.backends.smtp.EmailBackend"


def deliver_all[Row](claim: Callable[[], Row | None], deliver: Callable[[Row], bool]) -> int:
    """Deliver what waits and is due, one after the other; returns how many arrived."""
    begun, delivered = monotonic(), 0
    while monotonic() - begun < RUN_FOR:
        row = claim()
        if row is None:
            break
        delivered += deliver(row)
    return delivered


def claim_next[Row: Model](rows: Manager[Row], *related: str) -> Row | None:
    """Take the row that has waited longest, with what is related to it; nobody else does for a while. None: none is due."""
    now = timezone.now()
    waiting = rows.filter(delivered_at=None, given_up_at=None, next_try_at__lte=now)
    with transaction.atomic():
        row: Any = waiting.select_for_update(skip_locked=True).order_by("next_try_at", "pk").first()
        if row is None:
            return None
        rows.filter(pk=row.pk).update(next_try_at=now + CLAIM, tries=row.tries + 1)
    return rows.select_related(*related).filter(pk=row.pk).first()


def pause_after(tries: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time."""
    return min(FIRST_PAUSE * 2 ** min(tries - 1, 20), LONGEST_PAUSE)


def write_email(to: Sequence[str], subject: str, text: str, headers: dict[str, str]) -> None:
    """Send an e-mail; raises NotDelivered."""
    if not settings.EMAIL_HOST:
        raise NotDelivered(NO_EMAILS)
    message = EmailMessage(subject=subject, body=text, to=list(to), connection=get_connection(SMTP), headers=headers)
    try:
        message.send()
    except (SMTPException, OSError, ValueError) as error:
        raise NotDelivered(f"The mail server did not take it: {error}.") from None
