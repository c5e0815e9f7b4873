"""Which browsers somebody is signed in with. allauth keeps a row for each session; here they are noted and ended.

A session that nobody has noted, for it began before there were notes, is noted with the next thing that is done in it.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone


def note(request: Any) -> None:
    """Remember that somebody is here with this session; where it is new, from where and with what."""
    from allauth.usersessions.models import UserSession  # with forms and adapters, which few processes need

    if not request.session.session_key or not getattr(request, "user", None):
        return
    known = UserSession.objects.filter(session_key=request.session.session_key, user_id=request.user.pk)
    if not known.update(last_seen_at=timezone.now()):
        UserSession.objects.create_from_request(request)


def end_all(user_id: int) -> int:
    """Sign somebody out everywhere; returns of how many sessions."""
    from allauth.usersessions.models import UserSession

    found = list(UserSession.objects.filter(user_id=user_id))
    for session in found:
        session.end()
    return len(found)
