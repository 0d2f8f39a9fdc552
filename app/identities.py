"""One phone, one identity: which spellings of a number in E.164 are the same phone. Pure.

Numbering plans change, and old and new spellings live side by side in people's lists for years; some plans have two
spellings by design. `identity` is one function of the address; everything that asks whether two addresses are one phone
(doubles, opt-outs, the quarantine, checks, erasure) compares by it. The address itself is kept, and sent to, as it was given.

Here stands only what a plan says of every number: where two spellings cannot be told to be one phone, they are two.
"""

from dataclasses import dataclass
from re import Match, Pattern, compile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A change of one plan: numbers that have another spelling, and the one that is their identity. In a new spelling `{0}` is
    what the pattern's first group found."""

    other: Pattern[str]
    identity: str
    #: From the identity back.
    of: Pattern[str]
    back: str
    #: The other spelling is still a possible number: rows may stand under it.
    lives: bool = True


def _change(other: str, identity: str, of: str, back: str, *, lives: bool = True) -> _Change:
    return _Change(other=compile(other), identity=identity, of=compile(of), back=back, lives=lives)


def _put_before(country: str, digits: str, put: str, *, lives: bool = True) -> _Change:
    """Numbers of a country with such `digits` got `put` before them."""
    tail = rf"({digits})"
    return _change(
        rf"\+{country}{tail}", f"+{country}{put}{{0}}", rf"\+{country}{put}{tail}", f"+{country}{{0}}", lives=lives
    )


def _moved(old: str, new: str, digits: int, *, lives: bool = True) -> _Change:
    """What stood behind the beginning `old` stands behind `new`, digit for digit."""
    tail = rf"(\d{{{digits}}})"
    return _change(rf"\+{old}{tail}", f"+{new}{{0}}", rf"\+{new}{tail}", f"+{old}{{0}}", lives=lives)


#: Ministry of Information and Communications, 2018: mobile numbers lost a digit.
_VIETNAM = {
    "120": "70", "121": "79", "122": "77", "126": "76", "128": "78", "123": "83", "124": "84", "125": "85", "127": "81",
    "129": "82", "162": "32", "163": "33", "164": "34", "165": "35", "166": "36", "167": "37", "168": "38", "169": "39",
    "186": "56", "188": "58", "199": "59",
}  # fmt: skip
#: ARCEP Gabon, 2019: mobile and fixed numbers got an eighth digit; the zero before them was written, or not.
_GABON = {"1": "11", "2": "62", "4": "74", "5": "65", "6": "66", "7": "77"}

_KOSOVO = {"38643": "38343", "38649": "38349", "37744": "38344", "37745": "38345"}

#: By the first two digits behind the plus, so that most numbers are done with one look.
_CHANGES: dict[str, tuple[_Change, ...]] = {
    # Mexico, August 2019: the 1 before mobile numbers was abolished.
    "52": (_moved("521", "52", 10, lives=False),),
    # Argentina: 9 before mobile numbers when called from abroad, none for SMS; area code and number have ten digits.
    "54": (_put_before("54", r"(?:11|[23]\d)\d{8}", "9"),),
    # Brazil, 2012 to 2016: a 9 before mobile numbers, which began with 6 to 9; landlines begin with 2 to 5.
    "55": (_change(r"\+55([1-9]\d)([6-9]\d{7})", "+55{0}9{1}", r"\+55([1-9]\d)9([6-9]\d{7})", "+55{0}{1}"),),
    # Colombia, September 2021: 60 before landlines' numbers.
    "57": (_put_before("57", r"[124-8]\d{7}", "60"),),
    # Vietnam, 2018.
    "84": tuple(_moved(f"84{old}", f"84{new}", 7) for old, new in _VIETNAM.items()),
    "22": (
        # Benin, November 2024: 01 before all numbers.
        _put_before("229", r"\d{8}", "01"),
        # Côte d'Ivoire, January 2021: two digits before all numbers, by operator. Mobile: the second digit tells …
        *(
            _put_before("225", rf"[04-9][{told}]\d{{6}}", new, lives=False)
            for told, new in (("0-3", "01"), ("4-6", "05"), ("7-9", "07"))
        ),
        # … fixed: the third.
        *(
            _put_before("225", rf"[23]\d[{told}]\d{{5}}", new, lives=False)
            for told, new in (("8", "21"), ("0", "25"), ("1-79", "27"))
        ),
    ),
    # Cameroon, November 2014: 6 before mobile numbers.
    "23": (_put_before("237", r"[79]\d{7}", "6"),),
    "24": tuple(_moved(f"241{zero}{old}", f"241{new}", 6) for old, new in _GABON.items() for zero in ("", "0")),
    # Palestine: the mobile networks 56 and 59 are reached behind Israel's calling code, too.
    "97": (_moved("97256", "97056", 7), _moved("97259", "97059", 7)),
    # Kosovo, 2016 to 2018: from Slovenia's and Monaco's calling codes to its own.
    "38": tuple(_moved(old, new, 6) for old, new in _KOSOVO.items()),
}
_CHANGES["37"] = _CHANGES["38"]
#: How numbers begin that may have several spellings; all others have one.
SEVERAL_SPELLINGS = tuple(f"+{each}" for each in _CHANGES)


def identity(address: str) -> str:
    """The one spelling that stands for all spellings of the same phone; `address` itself for most, and for whatever is no
    number in E.164."""
    changes = _CHANGES.get(address[1:3])
    if changes is None or address[:1] != "+":
        return address
    for change in changes:
        found = change.other.fullmatch(address)
        if found is not None:
            return _put(found, change.identity)
    return address


def given_up(address: str) -> str | None:
    """What took the place of a spelling that no plan reads any more; None for all others."""
    changes = _CHANGES.get(address[1:3]) if address[:1] == "+" else None
    found = ((each, each.other.fullmatch(address)) for each in changes or () if not each.lives)
    return next((_put(match, each.identity) for each, match in found if match is not None), None)


def spellings(address: str, *, dead: bool = False) -> tuple[str, ...]:
    """All addresses that are the phone of `address`, itself first. One for most. Besides, if asked for, the `dead` ones: those
    that no plan reads any more, and that still stand in texts."""
    changes = _CHANGES.get(address[1:3])
    if changes is None or address[:1] != "+":
        return (address,)
    one = identity(address)
    back = (_put(found, each.back) for each in changes if (dead or each.lives) and (found := each.of.fullmatch(one)))
    return tuple(dict.fromkeys((address, one, *back)))


def _put(found: Match[str], template: str) -> str:
    return template.format(*found.groups())
