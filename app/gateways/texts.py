"""Cropping at the door: what a provider sends is kept whole in `raw`, and shown in measure."""

#: A status or error word longer than this is no word.
WORD_LENGTH = 100
TEXT_LENGTH = 500


def shown(text: str, most: int = TEXT_LENGTH) -> str:
    """`text` as it may be stored and shown: cropped, NUL (which PostgreSQL cannot hold) as U+FFFD."""
    if len(text) > most:
        text = text[:most]
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def shown_or_none(text: str | None, most: int = TEXT_LENGTH) -> str | None:
    """As `shown`; an empty text says nothing and becomes None."""
    return shown(text, most) if text else None
