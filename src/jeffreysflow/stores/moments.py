"""When records say that something finished: local times, of hosts that may differ in theirs."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["moment"]


def moment(finished: str) -> datetime:
    """When that was, by its offset from UTC; before all times for what is none.

    >>> moment("2026-10-25T02:59:00+0200") < moment("2026-10-25T02:00:00+0100")
    True
    >>> moment("") < moment("2001-01-01T00:00:00+0000")
    True
    """
    try:
        found = datetime.fromisoformat(finished)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
