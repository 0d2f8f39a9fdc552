"""Our own reference of a message that is sent from here: `acuse-42`. Who sends gives it to the gateway, which echoes it
in its receipts, so that they find the message even when nobody has told its provider ids yet."""

import re

PREFIX = "acuse-"
#: At most 18 digits: what a bigint surely holds.
_OURS = re.compile(rf"{PREFIX}([1-9][0-9]{{0,17}})", re.ASCII)


def reference_of(message_id: int) -> str:
    return f"{PREFIX}{message_id}"


def message_of(reference: str | None) -> int | None:
    """The message that `reference` names; None when it is not one of ours."""
    found = _OURS.fullmatch(reference or "")
    return int(found[1]) if found else None
