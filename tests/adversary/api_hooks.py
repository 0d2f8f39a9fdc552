"""What schemathesis must be told of this service's bodies: lines of JSON and CSV are texts, and go out as they are."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    return _octets(value)


@schemathesis.serializer("text/csv")
def table(context: Any, value: Any) -> bytes:
    return _octets(value)


def _octets(value: Any) -> bytes:
    """What should be no text is sent as nothing: written down, `{}` would be a good line."""
    if isinstance(value, bytes):
        return value
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""
