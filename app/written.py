"""What somebody wrote as a phone number, down to its digits. Pure.

A dialler takes whatever it is given: it dials letters, and joins what stands behind a number to it. Whoever reads a list must
not: that would be another person's number. So whatever is no digit, and nothing that people put between digits, makes a text
no number at all; so does what may be two numbers, or a number and a program's fraction that cannot be told from its digits.
"""

import re
import unicodedata

_SCHEME = re.compile(r"\s*(?:tel|sms|whatsapp|rcs):(?://)?", re.IGNORECASE)
_ESCAPED = re.compile(r"%2[bB]|%20")
#: Around a number: what spreadsheets, lists and people leave there.
_AROUND = " \t\r\n'\"’‘”“=;:,"
_PLAIN = re.compile(r"[ ()\[\].-]*\+*[ ()\[\].-]*[0-9][0-9 ()\[\]./,-]*")
_ASCII = re.compile(r"[0-9+./()\[\], -]*")
#: `34600123123.0`: what a spreadsheet makes of a column of numbers, with its country's comma or a point.
_FRACTION = re.compile(r"([+0-9 ()-]*[0-9])[.,](0|00)")
_LAST_GROUP = re.compile(r"(.*)\.([0-9]{1,2})")
_IN_PAIRS = re.compile(r".*[ .-][0-9]{2}")
#: Before the last stroke stands an area code, behind it a number; not a number, and the end of the next one.
_MOST_BEFORE_STROKE = 7
_LEAST_BEHIND_STROKE = 4
#: `1. 0151…`, `2) 0151…`: a list's own numbers; `0151… (2)`: which of several. `2026-11-28`, `28.11.2026`: days.
_BESIDE = re.compile(
    r"[(\[]?[1-9][0-9]?(?:[)\]]|\.(?=[ )]))[ .)-]*0.*|[1-9][0-9]? +- *0.*|.*[0-9].*[(\[] *[0-9]{1,3}[^0-9]*"
    r"|(?:19|20)[0-9]{2}([./-])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12][0-9]|3[01])"
    r"|(?:0?[1-9]|[12][0-9]|3[01])([./-])(?:0?[1-9]|[12][0-9]|3[01])\2(?:19|20)[0-9]{2}"
)
_SHORTENED = re.compile(r"[+-]?[0-9](?:[.,][0-9]+)?[eE][+-]?[0-9]{1,2}")
_LONGEST = 250
#: In place of a dash: the minus, and the long vowel mark that Japanese keyboards give.
_DASHES = "−ー"
_FULL_WIDTH = str.maketrans("＋．／（）［］，", "+./()[],")


def bare(raw: str) -> str | None:
    """`raw` in ASCII: a plus or none, digits, and what stands between digits; None when it is no number."""
    if len(raw) > _LONGEST:
        return None
    text = _without_scheme(raw)
    if text is None:
        return None
    text = text.strip(_AROUND)
    if not _ASCII.fullmatch(text):
        text = "".join(map(_in_ascii, text.translate(_FULL_WIDTH))).strip(_AROUND)
    text = text.strip(" .-/")
    if not _PLAIN.fullmatch(text) or _BESIDE.fullmatch(text):
        return None
    text = _without_fraction(text) or ""
    if not text or "," in text or not _is_one(text):
        return None
    return "+" + text.rpartition("+")[2] if "+" in text else text


def has_letters(raw: str) -> bool:
    """Whether there is a letter where only a number should be."""
    text = _without_scheme(raw[:_LONGEST])
    return text is not None and any(char.isalpha() and char not in _DASHES for char in text)


def is_shortened(raw: str) -> bool:
    """`3.46E+10`: what a spreadsheet shows of a long number. Its last digits are lost."""
    return _SHORTENED.fullmatch(raw.strip(_AROUND)) is not None


def _without_scheme(raw: str) -> str | None:
    """`tel:+34-600…;isub=1`, `sms:+34600…?body=…`: the number alone; None when it names an extension, or a country."""
    scheme = _SCHEME.match(raw)
    if scheme is None:
        return raw
    text, _, parameters = raw[scheme.end() :].partition("?")[0].partition(";")
    more = any(each.startswith(("ext=", "phone-context=+")) for each in parameters.lower().split(";"))
    return None if more else _ESCAPED.sub(lambda found: " " if found[0] == "%20" else "+", text)


def _in_ascii(char: str) -> str:
    """A `?` for what belongs into no number; nothing for what has no width."""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    if category == "Pd" or char in _DASHES:
        return "-"
    if category == "Zs" or char == "\t":
        return " "
    return char if char.isascii() else "?"


def _without_fraction(text: str) -> str | None:
    """None where digits behind the last point may be a fraction, and may be not."""
    found = _FRACTION.fullmatch(text)
    # Blanks and dashes are a person's, a fraction is a program's: with both, `00` may be the number's own end.
    if found is not None and (found[2] == "0" or not set(" ()-") & set(found[1])):
        return found[1]
    last = _LAST_GROUP.fullmatch(text)
    if last is not None and (len(last[2]) == 1 or not _IN_PAIRS.fullmatch(last[1])):
        return None
    return text


def _is_one(text: str) -> bool:
    before, stroke, behind = text.rpartition("/")
    return not stroke or (
        _count_digits(before) <= _MOST_BEFORE_STROKE and _count_digits(behind) >= _LEAST_BEHIND_STROKE
    )


def _count_digits(text: str) -> int:
    return sum(map(str.isdigit, text))
