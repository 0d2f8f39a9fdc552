"""Where the script of a URL ends: text of another script follows it without a blank, in Chinese and Thai as a rule.

ASCII and Latin letters may stand anywhere in a URL. A letter of another script may when one of its own goes before it, or a
mark that parts words (`/wiki/Москва`); right behind a letter or digit it begins what follows the URL (`/xподробнее`). Scripts
that put no blanks between words are taken behind a mark only when the host is written so (`例え.jp/テスト`): else `/查看` may as
well be the next word. Symbols, emoji and punctuation of any script end a URL.
"""

import re
from functools import lru_cache
from unicodedata import category, name

_FOREIGN = re.compile(r"[^\x00-\x7f]")
#: Everything below is Latin, or a sign that has always been let into URLs; but these two, which are emoji as well.
_FIRST_FOREIGN = "\u0250"
_LATIN_SYMBOLS = "©®"
#: Marks that stand inside of words and titles: a middle dot, hyphens, a dash, an apostrophe.
_WITHIN = "·‐‑–’"
_LATIN = frozenset(["LATIN", "COMBINING", "MODIFIER"])
_CJK = frozenset(["CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "HALFWIDTH", "YI"])
_UNSPACED = frozenset(
    ["CJK", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE", "TAI", "NEW", "FULLWIDTH"]
)
_KEYCAP = "0123456789#*"


def script_end(text: str, host_start: int, host_end: int) -> int:
    """Where in `text`, a URL with whatever follows it, the URL's own scripts end. The host (with a name before it) stands
    between the other two."""
    if text.isascii():
        return len(text)
    of_host: set[str] = set()
    for found in _FOREIGN.finditer(text):
        at, script = found.start(), script_of(found[0])
        if script == "latin":
            continue
        if script is None:
            return at - (found[0] in "\ufe0f\u20e3" and text[at - 1] in _KEYCAP)
        before = text[at - 1]
        in_host = at < host_end
        if script_of(before) != script:
            parted = not (before.isalnum() or before == "}")
            if in_host and not parted and "." in text[host_start:at].removeprefix("www."):
                return at
            if not in_host and (not parted or (script in _UNSPACED and script not in of_host)):
                return at
        if in_host:
            of_host.add(script)
    return len(text)


@lru_cache(maxsize=4_096)
def script_of(character: str) -> str | None:
    """`latin` for ASCII and what goes with it anywhere; None for what is in no script: symbols, emoji, punctuation."""
    if character < _FIRST_FOREIGN:
        return None if character in _LATIN_SYMBOLS else "latin"
    if character in _WITHIN:
        return "latin"
    if category(character) == "Me" or category(character)[0] not in "LMN":
        return None
    word = name(character, "").partition(" ")[0].partition("-")[0]
    if word == "VARIATION":
        return None
    if word in _LATIN:
        return "latin"
    return "CJK" if word in _CJK else "ARABIC" if word == "EXTENDED" else word


def foreign_word(text: str, at: int) -> str:
    """The letters of one other script that stand there; "" when none do."""
    end = at
    while end < len(text) and (script := script_of(text[end])) not in (None, "latin") and script == script_of(text[at]):
        end += 1
    return text[at:end]
