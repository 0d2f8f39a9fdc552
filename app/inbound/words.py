"""The words of a text as rules compare them, and which of them are a person's own. Pure.

Case, accents, punctuation, emoji, full-width letters and characters without a width do not matter. What a phone quotes of
our own text is not what its owner says: the line of an e-mail that begins with `>`, and a reaction (*Liked “Reply STOP to opt
out”*), which phones send as a text to those who cannot show it.
"""

import re
import unicodedata

#: Words are looked for in so many characters: all that is kept of a text. As `list_replies` in ingest/queries.sql.
READ_LENGTH = 5_000


def normalised_words(text: str) -> list[str]:
    """The words of `text` as they are compared: letters and digits only, lower case, without accents."""
    folded = _decomposed(text[:READ_LENGTH])
    # A table of the few characters there are, because one of them can be decomposed into eighteen, and a text has thousands.
    table = {ord(char): None if _is_invisible(char) else " " for char in set(folded) if not char.isalnum()}
    return folded.translate(table).split()


def _decomposed(text: str) -> str:
    if text.isascii():
        return text.casefold()
    # Twice, because folding the case can give letters with accents again ("ΐ").
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def is_plain(text: str) -> bool:
    """Whether it holds nothing but letters and digits, with or without accents, and blanks and hyphens between words."""
    return all(char.isalnum() or char in " -" or unicodedata.category(char)[0] == "M" for char in text)


def _is_invisible(char: str) -> bool:
    """Accents (M) and what has no width (Cf: joiners, direction marks, soft hyphens): they part no words."""
    return not char.isascii() and (unicodedata.category(char)[0] == "M" or unicodedata.category(char) == "Cf")


# --- what is quoted --------------------------------------------------------------------------------------------------

#: What stands before the quotation in a reaction, as words are compared; `…` is what the emoji is called, if it has a name.
_VERBS = (
    "liked|loved|disliked|laughed at|emphasi[sz]ed|questioned|reacted… to|removed… from",
    "(?:no )?le gust[ao]|le encant[ao]|le disgusto|se rio (?:de|con)|le dio risa|enfatizo|destaco|cuestiono|pregunto por"
    "|(?:ha )?reacciono… a|ha reaccionado… a|(?:quito|elimino)… (?:de|a)",
    "a (?:aime|adore)|n a pas (?:aime|adore)|a ri de|a mis l accent sur|a souligne|a mis en question|a questionne"
    "|a reagi… a|a (?:supprime|retire)… de",
    "(?:nao )?(?:gostou|curtiu|amou|adorou)(?: de)?|riu de|enfatizou|questionou|reagiu… a|removeu… de",
    "gefallt(?: mir)?|liebt|lacht uber|betont|hinterfragt|hat… auf|hat|reagierte… auf",  # German's verb may stand behind
    "(?:non )?ha (?:adorato|apprezzato|gradito|evidenziato)|ha riso (?:a|di|per)|ha (?:messo|dato)… a|ha reagito… a",
)
_REACTION = re.compile("|".join(_VERBS).replace("…", r"(?: \w+){0,4}"))
#: An emoji, and whom it is to: "👍 to “…”".
_EMOJI_TO = re.compile(r"to|a|auf")
#: How far into a text its quotation begins, and how many characters may follow it.
_LONGEST_OPENING = 60
_LONGEST_CLOSING = 40
_OPENS = re.compile('["“„«‟＂「『]')
_CLOSES = re.compile('["”“»＂」』]')
_QUOTED_LINE = re.compile(r"^[ \t]*[>＞].*$", re.MULTILINE)


def own_words(text: str) -> list[str]:
    """The words of `text` that are its writer's: those of a quotation of ours are left out."""
    return normalised_words(without_quotations(text[:READ_LENGTH]))


def without_quotations(text: str) -> str:
    """`text` without lines that begin with `>`; of a reaction only what says that it is one."""
    text = _QUOTED_LINE.sub("", text)
    opens = _OPENS.search(text, 0, _LONGEST_OPENING)
    if opens is None or not _is_reaction(text[: opens.start()]):
        return text
    closes = [found.end() for found in _CLOSES.finditer(text, opens.end())]
    end = closes[-1] if closes else len(text)  # a phone cuts what is long, and then closes nothing
    closing = text[end:]
    return f"{text[: opens.start()]} {closing}" if len(closing) <= _LONGEST_CLOSING else text


def _is_reaction(opening: str) -> bool:
    words = " ".join(normalised_words(opening))
    if _EMOJI_TO.fullmatch(words):
        return any(unicodedata.category(char) in ("So", "Sk") for char in opening)
    return _REACTION.fullmatch(words) is not None
