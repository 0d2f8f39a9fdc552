"""What a reply means: "STOP" from a phone, by the rules of the gateway that it came by. Pure (domain.md §6).

A rule's keyword is compared with the first word of a text, or its first words where it has several: STOP matches "stop" and
"¡Stop, gracias!", and does not match "don't stop", whose first word is "don", nor "stopwatch". Rules are tried top to
bottom, and the first that matches wins; `*` takes what is left. Whatever holds an opt-out word and matches no rule a person
looks at, unless it is our own text that is quoted (`words`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

from app.gateways.receipt import Numbering, OptOut
from app.inbound.words import is_plain, normalised_words, own_words
from app.numbers import normalise, of_either
from app.written import bare

#: `denylist` an opt-out · `allow` an opt-in · `none` a word that is known and changes nothing, "HELP" say
RuleAction = Literal["denylist", "allow", "none"]
#: `review`: it touches nobody by itself; a person should look at it.
Action = Literal["denylist", "allow", "none", "review"]
Scope = Literal["address", "sender"]
#: `word` the first word, or words · `prefix` what the text begins with · `exact` the whole text
Match = Literal["word", "prefix", "exact"]
#: `law` a regulator names the word · `provider` providers or carriers take it as such · `custom` usage, or your own
Source = Literal["law", "provider", "custom"]
#: A keyword that takes what no other rule takes.
REST = "*"
#: Pieces of one long message come within this time: references are short, and used again. As `same_message` in
#: ingest/queries.sql.
TOGETHER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    keyword: str
    action: RuleAction
    match: Match = "word"
    #: Only for messages to this number or short code of ours; None: to any.
    short_code: str | None = None
    #: Sent back, where the gateway's protocol has a way.
    reply: str | None = None
    #: Whom an opt-out is to: whoever sends (`address`), or only the number that was written to (`sender`).
    scope: Scope = "address"
    #: Where the word comes from: a country (ISO 3166) and a language (ISO 639), None: of no one in particular.
    country: str | None = None
    language: str | None = None
    source: Source = "custom"

    @property
    def matches(self) -> Match:
        """How it is compared. An opt-in is always the whole text: "start tomorrow" asks for nothing."""
        return "exact" if self.action == "allow" else self.match


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What comes of one reply."""

    rule: Rule | None = None
    #: None: no rule says anything about it.
    action: Action | None = None
    #: The provider has told the person already what came of it.
    answered: bool = False

    @property
    def reply(self) -> str | None:
        """What is answered: nothing to what is kept for a person, who may decide otherwise."""
        takes_effect = self.rule is not None and self.action == self.rule.action and not self.answered
        return self.rule.reply if takes_effect and self.rule is not None else None


def _shipped(
    action: RuleAction, match: Match, words: str, country: str | None, language: str, source: Source
) -> Iterable[Rule]:
    return (
        Rule(keyword=word, action=action, match=match, country=country, language=language, source=source)
        for word in words.split(", ")
    )


#: What holds for a gateway that has no rules of its own. The law of the United States is 47 CFR 64.1200(a)(10): "stop",
#: "quit", "end", "revoke", "opt out", "cancel" and "unsubscribe" (in force since April 2025); Canada's carriers want ARRET.
SHIPPED: tuple[Rule, ...] = (
    *_shipped("denylist", "word", "STOP", None, "en", "law"),
    *_shipped("denylist", "word", "STOPALL", "US", "en", "provider"),
    *_shipped("denylist", "word", "UNSUBSCRIBE, REVOKE", "US", "en", "law"),
    *_shipped("denylist", "word", "OPTOUT", "US", "en", "provider"),
    *_shipped("denylist", "word", "OPT OUT", "US", "en", "law"),
    *_shipped("denylist", "word", "BAJA", "ES", "es", "custom"),
    *_shipped("denylist", "word", "PARAR", None, "es", "custom"),
    *_shipped("denylist", "word", "ARRET", "CA", "fr", "provider"),
    # Words that begin many a sentence which asks for nothing: alone they opt out, with others a person looks at them.
    *_shipped("denylist", "exact", "END, QUIT, CANCEL", "US", "en", "law"),
    *_shipped("denylist", "exact", "ALTO", None, "es", "custom"),
    *_shipped("allow", "exact", "START, UNSTOP", "US", "en", "provider"),
    *_shipped("allow", "exact", "ALTA", "ES", "es", "custom"),
)

#: Words shorter than this are too near to too many others for a slip of the finger to be told.
_SHORTEST_MISSPELT = 4
_SHORT = 2
_LONGEST_KEYWORD = 40
_MOST_KEYWORD_WORDS = 5


def rules_of(stored: Iterable[Mapping[str, Any]] | None) -> tuple[Rule, ...]:
    """The rules of a gateway as they are stored; None: those that are shipped."""
    return SHIPPED if stored is None else tuple(Rule(**each) for each in stored)


def stored(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    return [asdict(rule) for rule in rules]


def verdict(
    rules: Sequence[Rule],
    text: str,
    recipient: str | None,
    *,
    sender_is_number: bool = True,
    verified: bool = True,
    opt_out: OptOut | None = None,
) -> Verdict:
    """What comes of a reply to `recipient`. `opt_out`: what the provider itself says that it is.

    Of a gateway whose callbacks prove nothing (`verified` false) an opt-out is believed, for a STOP that is missed is
    worse than one that is forged; an opt-in is not: it is kept for a person. So is whatever would touch an address when
    the sender is no phone number, and what is nearly an opt-out."""
    words = own_words(text)
    rule = match(rules, words, recipient)
    if opt_out in ("denylist", "allow") and (rule is None or rule.action not in ("denylist", opt_out)):
        rule = _MARKS[opt_out]
    if rule is None:
        missed, rest = near_miss(rules, words, recipient), _rest(rules, recipient)
        if missed is not None and (rest is None or rest.action != "denylist"):
            return Verdict(rule=missed, action="review")
        rule = _MARKS[opt_out] if opt_out else rest
    if rule is None:
        return Verdict()
    trusted = sender_is_number and (verified or rule.action == "denylist")
    action: Action = rule.action if trusted or rule.action == "none" else "review"
    return Verdict(rule=rule, action=action, answered=opt_out is not None)


#: What stands for a rule where only the provider says what a reply is. Where the text says more, the opt-out is believed.
_MARKS: Mapping[OptOut, Rule] = {
    "denylist": Rule(keyword="STOP", action="denylist", match="exact", source="provider"),
    "allow": Rule(keyword="START", action="allow", match="exact", source="provider"),
    "none": Rule(keyword="HELP", action="none", match="exact", source="provider"),
}


def match(rules: Sequence[Rule], words: Sequence[str], recipient: str | None) -> Rule | None:
    """The first rule whose keyword a text of these words has where it must, among those for messages to `recipient`."""
    said = " ".join(words)
    if not said:
        return None
    return next((rule for rule in _meant_for(rules, recipient) if _has(said, rule)), None)


def _has(said: str, rule: Rule) -> bool:
    keyword = _keyword(rule.keyword)
    if not keyword or not said.startswith(keyword):
        return False
    if rule.matches == "prefix" or len(said) == len(keyword):
        return True
    return rule.matches == "word" and said[len(keyword)] == " "


def _rest(rules: Sequence[Rule], recipient: str | None) -> Rule | None:
    return next((rule for rule in _meant_for(rules, recipient) if rule.keyword == REST), None)


def near_miss(rules: Sequence[Rule], words: Sequence[str], recipient: str | None) -> Rule | None:
    """The rule that a text which matches none may have meant. An opt-out: it holds the word ("please stop"), begins with a
    longer one ("stopping"), has a blank in it ("S T O P", "un-subscribe"), or is misspelt by one letter ("stpo", "baha").
    Else an opt-in with more behind it ("start please"). The words that are shipped are looked for whatever the rules are."""
    if not words:
        return None
    said = f" {' '.join(words)} "
    apart = "".join(words) if all(len(word) == 1 for word in words) else ""
    pairs = {one + two for one, two in pairwise(words)}
    meant = list(_meant_for(rules, recipient))
    opt_outs = [rule for rule in (*meant, *SHIPPED) if rule.action == "denylist" and rule.keyword != REST]
    holding = (rule for rule in opt_outs if _holds(said, rule) or _keyword(rule.keyword) == apart)
    halved = (rule for rule in SHIPPED if _is_long(rule) and _keyword(rule.keyword) in pairs)
    longer = (rule for rule in SHIPPED if _is_long(rule) and words[0].startswith(_keyword(rule.keyword)))
    misspelt = (rule for rule in opt_outs if _misspelt(words[0], _keyword(rule.keyword)))
    opt_ins = (rule for rule in meant if rule.action == "allow" and said.startswith(f" {_keyword(rule.keyword)} "))
    return next((rule for found in (holding, halved, longer, misspelt, opt_ins) for rule in found), None)


def _holds(said: str, rule: Rule) -> bool:
    """Anywhere; a keyword of one or two letters only at its beginning, for they stand in every other text."""
    keyword = _keyword(rule.keyword)
    sought = f" {keyword}" if rule.matches == "prefix" else f" {keyword} "
    return bool(keyword) and (sought in said if len(keyword) > _SHORT else said.startswith(sought))


def _is_long(rule: Rule) -> bool:
    """Whether words that begin with its keyword are few, and mostly forms of it."""
    return rule.action == "denylist" and (rule.match == "word" or len(rule.keyword) > _SHORTEST_MISSPELT)


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


# --- keywords --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4_096)
def _keyword(written: str) -> str:
    """As words are compared, a blank between them; "" of `*`."""
    return " ".join(normalised_words(written))


def is_keyword(text: str) -> bool:
    """One to five words of letters and digits, with or without accents, 40 characters together; or `*`."""
    words = normalised_words(text)
    return text == REST or (is_plain(text) and 0 < len(words) <= _MOST_KEYWORD_WORDS and len(text) <= _LONGEST_KEYWORD)


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
