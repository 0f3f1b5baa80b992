"""What a failed call means, by the code and the text of the reply: imports no package of Google."""

from __future__ import annotations

import re
from enum import StrEnum

from litestar_queues.execution.base import Outlook

__all__ = ("CallError", "Trouble", "trouble_of")


class Trouble(StrEnum):
    """Kinds of failed calls."""

    BUSY = "busy"
    """The service took nothing, and may take the same call later."""
    UNCLEAR = "unclear"
    """The call may have had its effect: its reply did not come."""
    MISSING = "missing"
    """The job or the execution does not exist."""
    DENIED = "denied"
    """A permission is missing."""
    CREDENTIALS = "credentials"
    """The process has no credentials, or Google does not accept them."""
    INVALID = "invalid"
    """The service will never take this call."""

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed a moment later."""
        return self in (Trouble.BUSY, Trouble.UNCLEAR)

    @property
    def outlook(self) -> Outlook:
        """What it means for the next dispatch."""
        return {Trouble.BUSY: Outlook.FOR_NOW, Trouble.UNCLEAR: Outlook.UNCLEAR}.get(self, Outlook.REFUSED)


class CallError(Exception):
    """A call to Cloud Run that failed.

    Attributes:
        trouble: What kind of failure this is.
        code: The name of the status, for example `PERMISSION_DENIED`.
        detail: The text of the reply, in one line; without credentials.
    """

    def __init__(self, trouble: Trouble, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.trouble = trouble
        self.code = code
        self.detail = detail


_BY_CODE = {
    "RESOURCE_EXHAUSTED": Trouble.BUSY,
    "UNAVAILABLE": Trouble.BUSY,
    "ABORTED": Trouble.BUSY,
    "DEADLINE_EXCEEDED": Trouble.UNCLEAR,
    "CANCELLED": Trouble.UNCLEAR,
    "UNKNOWN": Trouble.UNCLEAR,
    "INTERNAL": Trouble.UNCLEAR,
    "DATA_LOSS": Trouble.UNCLEAR,
    "NOT_FOUND": Trouble.MISSING,
    "PERMISSION_DENIED": Trouble.DENIED,
    "UNAUTHENTICATED": Trouble.CREDENTIALS,
}
_NO_TOKEN = "Getting metadata from plugin failed"  # noqa: S105  # the beginning of a message
_UNSENT = re.compile(r"failed to connect|errors? resolving|dns resolution", re.IGNORECASE)
_LOST = re.compile(
    r"stream removed|socket closed|connection reset|connection aborted|broken pipe|goaway|transport closed|keepalive"
    r"|cancelling all calls|shutting down|end of (tcp )?(file|stream)|rst_stream|endpoint closing",
    re.IGNORECASE,
)
"""What gRPC writes where a connection ended after the call was sent. It has the code of a 503, and no mark of its own."""


def trouble_of(code: str, text: str) -> CallError:
    """The failed call of a reply with this status and text."""
    if text.startswith(_NO_TOKEN):
        # Nothing was sent. The rest of the text is the reply of whoever gives the tokens.
        return CallError(Trouble.BUSY, "UNAVAILABLE", "no access token could be had")
    detail = " ".join(text.split())[:500]
    if code == "UNAVAILABLE" and not _UNSENT.search(text) and _LOST.search(text):
        return CallError(Trouble.UNCLEAR, code, detail)
    return CallError(_BY_CODE.get(code, Trouble.INVALID), code, detail)
