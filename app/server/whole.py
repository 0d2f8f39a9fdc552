"""Answers that are whole at once, as bytes on the wire.

What the hot roads answer differs little from one request to the next, and to check and join each header anew takes longer than
to find where a short URL leads. So our server takes such an answer in one message of its own kind (an extension of ASGI, named
in `scope["extensions"]`); any other server, and the tests' client, gets the two that every server knows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import Scope, Send

EXTENSION = "acuse.answer"
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class Whole:
    """One answer, made once and sent often."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    #: Status line and headers, without the empty line at their end.
    head: bytes

    @classmethod
    def of(cls, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes = b"") -> "Whole":
        """`headers` say the length of the body. Raises `ValueError` for one that would not stay on its line (RFC 9110, 5.5)."""
        lines = [b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())]
        for name, value in headers:
            if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
                raise ValueError("A header holds what no header may.")
            lines.append(b"%s: %s\r\n" % (name, value))
        return cls(status, headers, body, b"".join(lines))

    async def send(self, scope: Scope, send: Send) -> None:
        """Answers in one message, where the server is ours."""
        if EXTENSION in scope.get("extensions", ()):
            await send({"type": EXTENSION, "answer": self})
        else:
            await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
            await send({"type": "http.response.body", "body": self.body})
