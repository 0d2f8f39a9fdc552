"""Which column of a table is which field: by its name, whatever its case, accents and blanks.

The column of the numbers is found by its usual names in English and Spanish, too, or by the one that is asked for. Nothing is
guessed: where two could be meant, or none, the answer names what the table has.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from app.errors import Problem
from app.privacy.masking import holds_number

#: Columns of CSV: what has more is no table of rows.
MOST_COLUMNS = 256
ADDRESS = "address"
_SHOWN_COLUMNS = 20
_SHOWN_LETTERS = 64
#: What the column of the numbers is called in English and Spanish, as `_plain` writes it.
_ADDRESS_NAMES = re.compile(
    r"address(es)?|e164|msisdn|(sms|destination|recipient|contact|to)number"
    r"|(contact|customer|recipient|client|user|sms)?(mobile|cell|tele)?(phone|phones|mobile|mobiles|cell|cellular|tel)"
    r"(mobile|cell)?(no|nr|num|number|numbers)?[1-9]?"
    r"|(n|no|num|nro|numero|numeros)?(de|del)?(telefono|telefonos|telef|telf|tlf|tfn|movil|moviles|celular|celulares|cel|fono)"
    r"(no)?(movil|celular|(de)?contacto|(del)?cliente)?[1-9]?"
)
_USUAL = "`address`, `phone`, `mobile`, `telefono`, `móvil` and the like"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the rows of one kind of upload hold."""

    fields: tuple[str, ...] = ()
    needs_address: bool = False
    #: What a column of another name is: refused by whoever reads a row that fills it; kept with the row, and no more; a param;
    #: or nobody's.
    others: Literal["refused", "kept", "params", "not read"] = "refused"


#: Every column under its own name.
ANY = Shape()


def matched(columns: Sequence[str], shape: Shape, asked: str | None, separator: str) -> list[str]:
    """The name in a row of each column; "" of one that is not read. Raises a 400 `Problem` that names the columns."""
    found = [_other(name, shape) for name in columns]
    taken: dict[str, int] = {}
    for field in shape.fields:
        place = _place(field, columns, shape, asked, separator)
        if place is not None:
            taken[field] = place
    for place, name in enumerate(found):
        if name in shape.fields and taken.get(name) != place:  # another column is this field: `?address_column=`
            found[place] = ""
    for field, place in taken.items():
        if field == ADDRESS or place != taken.get(ADDRESS):  # what is asked for as the numbers is nothing else
            found[place] = field
    return found


def has_address(columns: Sequence[str], asked: str | None) -> bool:
    """Whether one of `columns` is that of the numbers, or could be."""
    return bool(_named(asked, columns) if asked else _addresses(columns))


def _other(name: str, shape: Shape) -> str:
    return "" if shape.others == "not read" else name


def _place(field: str, columns: Sequence[str], shape: Shape, asked: str | None, separator: str) -> int | None:
    if field != ADDRESS:
        places = _named(field, columns)
    elif asked is not None:
        places = _named(asked, columns)
        if not places:
            raise Problem(f"The CSV has no column as `?address_column=` names it. {_seen(columns, separator)}")
    else:
        places = _addresses(columns)
    if len(places) > 1:
        said = listed([columns[place] for place in places])
        which = "Say which by `?address_column=`." if field == ADDRESS else "Leave one."
        raise Problem(f"Several columns of the CSV could be `{field}`: {said}. {which}")
    if not places and field == ADDRESS and shape.needs_address:
        raise Problem(_without_address(columns, separator))
    return places[0] if places else None


def _named(name: str, columns: Sequence[str]) -> list[int]:
    """Where `name` stands as it is; else where it stands but for case, accents and blanks."""
    if name in columns:
        return [columns.index(name)]
    plain = _plain(name)
    return [place for place, each in enumerate(columns) if each and _plain(each) == plain] if plain else []


def _addresses(columns: Sequence[str]) -> list[int]:
    return _named(ADDRESS, columns) or [
        place for place, each in enumerate(columns) if _ADDRESS_NAMES.fullmatch(_plain(each))
    ]


def _plain(name: str) -> str:
    """Letters and digits, small, without accents: `Teléfono móvil` → `telefonomovil`, `Nº Tel.` → `notel`."""
    return _letters(name) if len(name) <= _SHOWN_LETTERS else name  # a name may be as long as a row: it is not kept


@lru_cache(maxsize=1_024)
def _letters(name: str) -> str:
    text = unicodedata.normalize("NFKD", name).casefold()
    return "".join(each for each in text if each.isalnum())


# --- sentences -------------------------------------------------------------------------------------------------------


def listed(columns: Sequence[str]) -> str:
    """The names of `columns`, for people: not all of very many, and nothing that is no name."""
    shown = [f"`{_shown(each)}`" for each in columns if each][:_SHOWN_COLUMNS]
    return ", ".join(shown) + (" and more" if len(columns) > _SHOWN_COLUMNS else "")


def _shown(name: str) -> str:
    text = "".join(each if each.isprintable() else "�" for each in name[:_SHOWN_LETTERS])
    return f"{text}…" if len(name) > _SHOWN_LETTERS else text


def _seen(columns: Sequence[str], separator: str) -> str:
    if any(holds_number(each) for each in columns):
        return "Its first line does not name columns: it holds a number, as a row does."
    parted = f", parted by {SEPARATORS.get(separator, separator)}" if len(columns) > 1 else ""
    return f"Its columns{parted}: {listed(columns)}."


def _without_address(columns: Sequence[str], separator: str) -> str:
    return (
        "The CSV needs a column `address` with the numbers. It is found by its name in the first line"
        f" ({_USUAL}), or named by `?address_column=`. {_seen(columns, separator)}"
    )
