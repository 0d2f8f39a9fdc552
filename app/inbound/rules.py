"""What a reply means: "STOP" from a phone, by the rules of the gateway that it came by. Pure (domain.md §6).

A rule's keyword is a prefix of the text's first word: STOP matches "stop", "¡Stop, gracias!" and "stopwatch", and does
not match "don't stop", whose first word is "don". Case, accents, punctuation, emoji, full-width letters and characters
without a width do not matter. Rules are tried top to bottom, and the first that matches wins. Letters that stand apart
("S T O P") are words of one letter each and match nothing; that, and what is nearly an opt-out, a person looks at.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from app.gateways.receipt import Numbering
from app.numbers import normalise, of_either
from app.written import bare

#: `denylist` an opt-out · `allow` an opt-in · `none` a word that is known and changes nothing, "HELP" say
RuleAction = Literal["denylist", "allow", "none"]
#: `review`: it touches nobody by itself; a person should look at it.
Action = Literal["denylist", "allow", "none", "review"]
Scope = Literal["address", "sender"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    keyword: str
    action: RuleAction
    #: Only for messages to this number or short code of ours; None: to any.
    short_code: str | None = None
    #: Sent back, where the gateway's protocol has a way.
    reply: str | None = None
    #: Whom an opt-out is to: whoever sends (`address`), or only the number that was written to (`sender`).
    scope: Scope = "address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comes of one reply."""

    rule: Rule | None = None
    #: None: no rule says anything about it.
    action: Action | None = None

    @property
    def reply(self) -> str | None:
        """What is answered: nothing to what is kept for a person, who may decide otherwise."""
        return self.rule.reply if self.rule is not None and self.action == self.rule.action else None


#: What holds for a gateway that has no rules of its own.
SHIPPED: tuple[Rule, ...] = (
    *(Rule(keyword=word, action="denylist") for word in ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")),
    *(Rule(keyword=word, action="denylist") for word in ("BAJA", "PARAR", "ALTO", "ARRET")),
    *(Rule(keyword=word, action="allow") for word in ("START", "UNSTOP", "ALTA")),
)

#: Words shorter than this are too near to too many others for a slip of the finger to be told.
_SHORTEST_MISSPELT = 4
_LONGEST_KEYWORD = 20
#: Words are looked for in so many characters of a text.
_READ_LENGTH = 500
#: A text of so many words may hold an opt-out that is not its first.
_MOST_WORDS = 3


def rules_of(stored: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    """The rules of a gateway as they are stored; None: those that are shipped."""
    return SHIPPED if stored is None else tuple(Rule(**each) for each in stored)


def stored(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    return [asdict(rule) for rule in rules]


def verdict(
    rules: Sequence[Rule], text: str, recipient: str | None, *, sender_is_number: bool = True, verified: bool = True
) -> Verdict:
    """What comes of a reply to `recipient`.

    Of a gateway whose callbacks prove nothing (`verified` false) an opt-out is believed, for a STOP that is missed is
    worse than one that is forged; an opt-in is not: it is kept for a person. So is whatever would touch an address when
    the sender is no phone number, and what is nearly an opt-out."""
    rule = match(rules, text, recipient)
    if rule is None:
        missed = near_miss(rules, text, recipient)
        return Verdict() if missed is None else Verdict(rule=missed, action="review")
    trusted = sender_is_number and (verified or rule.action == "denylist")
    return Verdict(rule=rule, action=rule.action if trusted or rule.action == "none" else "review")


def match(rules: Sequence[Rule], text: str, recipient: str | None) -> Rule | None:
    """The first rule whose keyword begins the first word of `text`, among those for messages to `recipient`."""
    word = normalised_word(text)
    if not word:
        return None
    return next((rule for rule in _meant_for(rules, recipient) if word.startswith(normalised_word(rule.keyword))), None)


def near_miss(rules: Sequence[Rule], text: str, recipient: str | None) -> Rule | None:
    """The opt-out that a text which matches no rule may have meant: misspelt by one letter ("stpo", "baha"), not first
    among few words ("please stop"), or with its letters apart ("S T O P")."""
    words = normalised_words(text)
    if not words:
        return None
    apart = "".join(words) if all(len(word) == 1 for word in words) else None
    later = words[1:] if len(words) <= _MOST_WORDS else []
    for rule in _meant_for(rules, recipient):
        keyword = normalised_word(rule.keyword)
        if rule.action == "denylist" and (keyword in (apart, *later) or _misspelt(words[0], keyword)):
            return rule
    return None


def _meant_for(rules: Iterable[Rule], recipient: str | None) -> Iterable[Rule]:
    to = _code(recipient)
    return (rule for rule in rules if rule.short_code is None or _code(rule.short_code) == to)


def _code(number: str | None) -> str | None:
    """A number, short code or alphanumeric sender, however it is written."""
    return None if number is None else re.sub(r"[\s+]", "", number).casefold()


def _misspelt(word: str, keyword: str) -> bool:
    """One letter is wrong, missing, too many, or two neighbours are exchanged."""
    if len(keyword) < _SHORTEST_MISSPELT or abs(len(word) - len(keyword)) > 1 or word == keyword:
        return False
    begin = next(
        (n for n, (a, b) in enumerate(zip(word, keyword, strict=False)) if a != b), min(len(word), len(keyword))
    )
    rest, expected = word[begin:], keyword[begin:]
    exchanged = rest[:2] == expected[1::-1] and rest[2:] == expected[2:]
    return exchanged or rest[1:] == expected[1:] or rest[1:] == expected or rest == expected[1:]


# --- words -----------------------------------------------------------------------------------------------------------


def normalised_word(text: str) -> str:
    """The first word of `text` as words are compared: letters and digits only, lower case, without accents; "" when it
    has none."""
    return next(iter(normalised_words(text)), "")


def normalised_words(text: str) -> list[str]:
    """All words of `text`, as `normalised_word` has them."""
    bare = "".join(char for char in _decomposed(text[:_READ_LENGTH]) if not _is_invisible(char))
    return "".join(char if char.isalnum() else " " for char in bare).split()


def _decomposed(text: str) -> str:
    # Twice, because folding the case can give letters with accents again ("ΐ").
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def is_keyword(text: str) -> bool:
    """One word of 1 to 20 letters and digits, with or without accents."""
    plain = all(char.isalnum() or unicodedata.category(char)[0] == "M" for char in text)
    return plain and 0 < len(normalised_word(text)) <= _LONGEST_KEYWORD


def _is_invisible(char: str) -> bool:
    """Accents (M) and what has no width (Cf: joiners, direction marks, soft hyphens): they part no words."""
    return not char.isascii() and (unicodedata.category(char)[0] == "M" or unicodedata.category(char) == "Cf")


# --- who wrote, and to whom ------------------------------------------------------------------------------------------

_BARE_LENGTHS = range(8, 16)


def number(written: str | None, country: str | None = None, numbering: Numbering | None = None) -> str | None:
    """A number as a provider writes it (`+34…`, `0034…`, `34…`) in E.164; None when it is no possible one, as are short
    codes and names, and when nobody can tell whose it is.

    Providers give whole numbers, so one without a plus is read as if it had it. What the provider calls national is read as
    one of the gateway's `country`, and without that not at all. Where nothing is said and the gateway has a country, a
    number that could be both is the one that its plan knows."""
    text = bare(written or "") or ""
    if text[:1] == "+":
        return normalise(text)
    digits = re.sub(r"[^0-9]", "", text)
    if numbering == "national":
        return normalise(digits, country) if country is not None else None
    if digits[:2] == "00":
        return normalise(f"+{digits[2:]}")
    if numbering == "other" or len(digits) not in _BARE_LENGTHS:
        return None
    return of_either(digits, country) if country is not None and numbering is None else normalise(f"+{digits}")


def sender_of(rule: Rule, recipient: str | None, country: str | None = None) -> str:
    """Whose messages a decision by `rule` is about: '' for everybody's. So, too, when nobody says who was written to."""
    if rule.scope == "address" or not recipient:
        return ""
    return number(recipient, country) or recipient.strip()
