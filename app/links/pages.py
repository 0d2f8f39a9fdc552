"""What people see where a short URL leads nowhere, or stands none: one small page, in Spanish or English, that loads nothing.

A wrong link and one that is over look the same, to the last byte, but for the status: whoever tries links learns little.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Language = Literal["es", "en"]
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    status: int
    #: Title and sentence.
    text: Mapping[Language, tuple[str, str]]
    #: After so many seconds it asks again by itself.
    again: int = 0


_NOWHERE: Mapping[Language, tuple[str, str]] = {
    "es": ("Este enlace no lleva a ninguna parte", "Puede que esté incompleto, o que ya haya caducado."),
    "en": ("This link leads nowhere", "It may have been cut short, or it may be over."),
}
#: At the root of a host of short URLs, where people look who wonder whose it is: nothing of the product.
FRONT = Page(
    status=200,
    text={
        "es": (
            "Enlaces de mensajes",
            "Esta dirección solo lleva a enlaces de mensajes de texto: abra el de su mensaje.",
        ),
        "en": (
            "Links of text messages",
            "This address only leads on from links in text messages: open the one in yours.",
        ),
    },
)
WRONG = Page(status=404, text=_NOWHERE)
GONE = Page(status=410, text=_NOWHERE)
SLOWLY = Page(
    status=429,
    text={
        "es": ("Demasiados intentos", "Espere un poco y pruebe otra vez."),
        "en": ("Too many attempts", "Wait a little and try again."),
    },
)
LATER = Page(
    status=503,
    again=5,
    text={
        "es": ("Ahora no es posible", "Esta página lo intenta otra vez dentro de unos segundos, por sí sola."),
        "en": ("Not possible just now", "This page tries again in a few seconds, by itself."),
    },
)
_HTML = """<!doctype html>
<html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">{again}<title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:20vh auto;padding:0 1.5rem;color:#222}}</style>
<h1>{title}</h1><p>{sentence}</p></html>
"""


def page(shown: Page, accept_language: bytes, retry_after: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of the answer, in the language that the visitor prefers."""
    language = preferred(accept_language[:_LONGEST])
    body = _bodies(shown.status, language)
    return _headers(language, retry_after, len(body)), body


@lru_cache(maxsize=64)
def _bodies(status: int, language: Language) -> bytes:
    shown = _BY_STATUS[status]
    title, sentence = shown.text[language]
    again = f'<meta http-equiv="refresh" content="{shown.again}">' if shown.again else ""
    return _HTML.format(language=language, title=title, sentence=sentence, again=again).encode()


def _headers(language: Language, retry_after: int, length: int) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(length).encode()),
        (b"content-language", language.encode()),
        (b"vary", b"Accept-Language"),
        (b"cache-control", b"no-store"),
        (b"x-robots-tag", b"noindex"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ]
    if retry_after:
        headers.append((b"retry-after", str(retry_after).encode()))
    return headers


_BY_STATUS = {each.status: each for each in (FRONT, WRONG, GONE, SLOWLY, LATER)}


@lru_cache(maxsize=256)
def preferred(accept_language: bytes) -> Language:
    """Spanish where it is asked for before English; else English."""
    best: tuple[float, Language] = (0.0, "en")
    for part in accept_language.decode("latin-1").lower().split(","):
        name, _, weight = part.strip().partition(";")
        language = name.partition("-")[0].strip()
        if (language == "es" or language == "en") and _weight(weight) > best[0]:
            best = (_weight(weight), "es" if language == "es" else "en")
    return best[1]


def _weight(parameter: str) -> float:
    name, equals, value = parameter.strip().partition("=")
    try:
        return float(value) if equals and name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
