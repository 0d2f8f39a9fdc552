"""Bodies in UTF-8, in whatever encoding they come: by their byte order mark, or by the charset that was said.

What a body of CSV without both is in, its rows tell (`app.api.sheets`). A character that cannot be read stays one that is none,
so that it costs its own row.
"""

import codecs
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable

from app.api.reader import pieces
from app.errors import WrongType

UTF8, WINDOWS = "utf-8", "windows-1252"
#: The longer ones first: one begins with another.
_BOMS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32le"),
    (codecs.BOM_UTF32_BE, "utf-32be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)
_LONGEST_BOM = 4
#: Of what cannot be read each byte asks for what stands in its place.
_PIECE_BYTES = 4_096
#: Names that mean another encoding than Python's, or none of its. UTF-16 and UTF-32 without a mark have the order in which
#: nearly all write them.
_LABELS = {
    "utf8": UTF8, "us-ascii": "", "ascii": "", "iso-8859-1": WINDOWS, "latin1": WINDOWS, "latin-1": WINDOWS, "l1": WINDOWS,
    "cp1252": WINDOWS, "ansi": WINDOWS, "utf-16": "utf-16le", "utf-32": "utf-32le", "macintosh": "mac-roman",
    "x-mac-roman": "mac-roman", "gb2312": "gb18030", "gbk": "gb18030",
}  # fmt: skip
_KNOWN = re.compile(
    r"utf-8|utf-(16|32)(le|be)|(windows-|cp)125[0-8]|cp(437|850|852|858|866)|iso-8859-([2-9]|1[013-6])|mac-roman|koi8-[ru]"
    r"|gb18030|big5|shift_jis|euc-(jp|kr)"
)
_LOST = "\udcff"
codecs.register_error("acuse.lost", lambda error: (_LOST, getattr(error, "end", 0)))


def charset(content_type: str) -> str | None:
    """The encoding that a `Content-Type` names; None when it names none, or only ASCII. Raises `WrongType`."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            said = value.strip().strip("\"'").lower()
            found = _LABELS.get(said, said)
            if not found:
                return None
            if _KNOWN.fullmatch(found) is None:
                raise WrongType("The charset is none that is read here: send the body in UTF-8.")
            return found
    return None


async def in_utf8(body: AsyncIterable[bytes], said: str | None, told: Callable[[str], None]) -> AsyncIterator[bytes]:
    """`body` without its byte order mark, which counts for more than the charset `said`; `told` hears the encoding."""
    stream = aiter(body)
    head = b""
    async for data in stream:
        head += data
        if len(head) >= _LONGEST_BOM:
            break
    mark, encoding = next(((mark, name) for mark, name in _BOMS if head.startswith(mark)), (b"", said))
    head = head[len(mark) :]
    if encoding is not None:
        told(encoding)
    if encoding in (None, UTF8):
        if head:
            yield head
        async for data in stream:
            yield data
        return
    decoder = codecs.getincrementaldecoder(encoding)("acuse.lost")
    async for data in pieces(_with(head, stream), _PIECE_BYTES):
        yield decoder.decode(data).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


async def _with(head: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for data in stream:
        yield data
