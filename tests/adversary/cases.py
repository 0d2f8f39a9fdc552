"""One line of a table: which finding it belongs to, what is sent, and what must come back."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from tests.adversary.target import Target
from tests.adversary.wire import Answer, ask

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"

Send = Callable[[Target], Iterable[bytes]]
Body = str | bytes | Callable[[], Iterable[bytes]]
#: Looks further: returns what is wrong, or None.
Then = Callable[[Target, Answer], Awaitable[str | None]]

#: Closed without an answer: allowed only where it is named.
CLOSED = 0


@dataclass(frozen=True, slots=True)
class Case:
    """`finding`: of attacks.md. `answer`: every status that is right. `says`: what stands in the answer. `accepted`: at least so
    many rows of a bulk body are taken, where it is read at all. `within`: seconds until the answer."""

    finding: str
    what: str
    send: Send
    answer: tuple[int, ...]
    says: str = ""
    accepted: int = 0
    within: float = 10.0
    then: Then | None = None

    async def run(self, target: Target) -> tuple[Answer, str | None]:
        """The answer, and what is wrong with it."""
        answer = await ask(target.door, self.send(target), within=self.within)
        wrong = self._wrong(answer)
        if wrong is None and self.then is not None:
            wrong = await self.then(target, answer)
        return answer, wrong

    def _wrong(self, answer: Answer) -> str | None:
        if answer.status not in self.answer:
            wanted = " or ".join(map(str, self.answer))
            return f"{answer.status} in place of {wanted}: {answer.text[:300]}"
        if self.says and self.says.lower() not in answer.text.lower():
            return f"does not say {self.says!r}: {answer.text[:300]}"
        if answer.status >= 400 and not _is_problem(answer):
            return f"an error in another form: {answer.headers.get('content-type')} {answer.text[:200]}"
        if self.accepted and answer.status < 300 and taken(answer) < self.accepted:
            return f"{taken(answer)} rows taken in place of {self.accepted}: {answer.text[:300]}"
        return None


def _is_problem(answer: Answer) -> bool:
    """Errors have one form; short URLs show a page."""
    kind = answer.headers.get("content-type", "")
    return kind.startswith("application/problem+json") or kind.startswith("text/html")


def taken(answer: Answer) -> int:
    """How many rows of a bulk body were taken, in the forms of its several endpoints."""
    if answer.headers.get("content-type", "").startswith(NDJSON):
        return sum(b'"short_url"' in line or b'"url"' in line for line in answer.body.splitlines())
    found: Any = orjson.loads(answer.body)
    return int(found["accepted"]) if "accepted" in found else len(found["items"])


# --- what is sent ----------------------------------------------------------------------------------------------------


def request(
    method: str, path: str, kind: str | None = None, body: Body = b"", *, key: str = "admin", headers: str = ""
) -> Send:
    """A request with a key. `path`, a text as `body` and `headers` (whole lines) may name what `Target.names` holds; a stream
    goes out in chunks."""

    def send(target: Target) -> Iterable[bytes]:
        head = f"{method} {target.filled(path)} HTTP/1.1\r\nHost: {{host}}\r\n{headers}"
        if key:
            head += f"Authorization: Bearer {target.keys[key]}\r\n"
        if kind:
            head += f"Content-Type: {kind}\r\n"
        return _with_body(target, head, body)

    return send


def get(path: str, *, key: str = "admin", headers: str = "") -> Send:
    return request("GET", path, key=key, headers=headers)


def post(path: str, kind: str, body: Body, *, key: str = "admin", headers: str = "") -> Send:
    return request("POST", path, kind, body, key=key, headers=headers)


def callback(gateway: str, body: Body, kind: str = JSON, *, query: str = "") -> Send:
    """A callback with its gateway's token."""
    path = f"/callbacks/{{{gateway}}}{query}"
    return request("POST", path, kind, body, key="", headers="X-Acuse-Token: {token}\r\n")


def raw(*pieces: str | Callable[[], Iterable[bytes]]) -> Send:
    """Bytes as they stand; texts may name what `Target.names` holds."""

    def send(target: Target) -> Iterable[bytes]:
        for piece in pieces:
            if isinstance(piece, str):
                yield target.filled(piece).encode("latin-1")
            else:
                yield from piece()

    return send


def _with_body(target: Target, head: str, body: Body) -> Iterable[bytes]:
    if isinstance(body, str):
        body = target.filled(body).encode("utf-8", "surrogatepass")
    if isinstance(body, bytes):
        yield target.filled(f"{head}Content-Length: {len(body)}\r\n\r\n").encode("latin-1")
        yield body
        return
    yield target.filled(f"{head}Transfer-Encoding: chunked\r\n\r\n").encode("latin-1")
    for piece in body():
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"
