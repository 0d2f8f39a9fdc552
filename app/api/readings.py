"""The receipt of a reading: how a bulk body was understood, so that whoever sent it need not guess.

It is made on the way, and costs nothing by the row but for the first few of them, which are shown before and after.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import Depends, Query, Request

from app.api.columns import ADDRESS, ANY, Shape, listed
from app.api.decoding import UTF8, charset
from app.api.fields import AskedFlag, Name
from app.api.reader import BadRow, Line, RowRefused
from app.errors import Invalid, WrongType
from app.numbers import normalise
from app.privacy.fields import masked
from app.privacy.masking import mask_numbers
from app.security import Principal

#: The kinds of body.
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
CONTENT_TYPES = (NDJSON, CSV, JSON)
_FORMATS = {JSON: "json", NDJSON: "ndjson", CSV: "csv"}
#: Rows that are shown, and characters of one.
_SAMPLES = 5
_SAMPLE_LETTERS = 500
_MOST_BYTES = 4_000
#: Of the header: proxies and clients refuse an answer whose headers take some thousands, and it would be lost.
_HEADER_BYTES = 2_000
_MOST_FINDINGS = 30
_OTHERS = {
    "refused": "is not known here: rows that fill it are refused",
    "kept": "is not known here: it is kept with the row, and does nothing",
}
_FOUND = ("code", "detail", "line", "count")


# --- what is asked ---------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    dry_run: bool = False
    address_column: str | None = None


_DryRun = Annotated[
    AskedFlag, Query(description="Only read: answers with the receipt of the whole body's reading, and stores nothing.")
]
_AddressColumn = Annotated[
    Name | None,
    Query(min_length=1, description="In CSV: the column that holds the numbers.", examples=["telefono"]),
]


def _asked(dry_run: _DryRun = False) -> Asked:
    return Asked(dry_run)


def _asked_with_address(dry_run: _DryRun = False, address_column: _AddressColumn = None) -> Asked:
    return Asked(dry_run, address_column)


AskedReading = Annotated[Asked, Depends(_asked)]
AskedAddressReading = Annotated[Asked, Depends(_asked_with_address)]


# --- what is found ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Finding:
    code: str
    detail: str
    line: int | None
    count: int = 0


@dataclass(slots=True, kw_only=True)
class Reading:
    """How one body is read, as far as it is known."""

    content_type: str
    charset: str | None = None
    shape: Shape = ANY
    address_column: str | None = None
    dry_run: bool = False
    #: Of national numbers, where rows have numbers.
    region: str | None = None
    #: None as long as all that came is ASCII.
    encoding: str | None = None
    separator: str | None = None
    #: By the names in the first line, the field each is; None: it is not read.
    columns: dict[str, str | None] | None = None
    rows: int = 0
    blank: int = 0
    findings: dict[tuple[str, int], Finding] = field(default_factory=dict)
    #: Rows that may still be shown.
    samples: int = _SAMPLES
    _before: dict[int, str] = field(default_factory=dict)
    _first: list[Line | BadRow] = field(default_factory=list)

    @classmethod
    def of(cls, request: Request, asked: Asked = Asked(), shape: Shape = ANY, region: str | None = None) -> "Reading":
        """That of the request's body. Raises `WrongType`, and `Invalid` for a column of what has none."""
        said = request.headers.get("content-type", "")
        kind = said.partition(";")[0].strip().lower()
        if kind not in CONTENT_TYPES:
            raise WrongType(f"Send one of {', '.join(CONTENT_TYPES)}.")
        if asked.address_column is not None and kind != CSV:
            raise Invalid.field("?address_column", "Only CSV has columns.")
        return cls(
            content_type=kind, charset=charset(said), shape=shape, address_column=asked.address_column,
            dry_run=asked.dry_run, region=region,
        )  # fmt: skip

    def is_in(self, encoding: str) -> None:
        self.encoding = encoding

    def has_columns(self, columns: Sequence[str], names: Sequence[str]) -> None:
        params = self.shape.others == "params"
        self.columns = {}
        for place, (column, name) in enumerate(zip(columns, names, strict=True), 1):
            if not column:
                self.find("unnamed_column", f"Column {place} has no name: its cells are not read.", None, place)
                continue
            known = name in self.shape.fields or not self.shape.fields
            found = name if known else f"params.{name}" if params and name else None
            self.columns[column] = found or None
            if found:
                continue
            if name:
                self.find("unknown_column", f"The column {listed([column])} {_OTHERS[self.shape.others]}.", None, place)
            else:
                self.find("column_not_read", f"The column {listed([column])} is not read.", None, place)

    def find(self, code: str, detail: str, line: int | None, place: int = 0) -> None:
        """Counts what was found; `place`: of several of one code."""
        finding = self.findings.get((code, place))
        if finding is None:
            if place and len(self.findings) >= _MOST_FINDINGS:
                return
            finding = self.findings[code, place] = Finding(code, detail, line)
        finding.count += 1

    def sample(self, number: int, record: str) -> None:
        """How a row of the first few was written."""
        self.samples -= 1
        self._before[number] = record[:_SAMPLE_LETTERS]

    def has_read(self, rows: Sequence[Line | BadRow]) -> None:
        self.rows += len(rows)
        if len(self._first) < _SAMPLES:
            self._first += rows[: _SAMPLES - len(self._first)]

    # --- as an answer ------------------------------------------------------------------------------------------------

    def shown(self, principal: Principal, refused: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The receipt as `principal` may see it. `refused`: errors by their line."""
        details = {each["line"]: each["detail"] for each in refused}
        first = [self._shown(row, details, principal) for row in self._first]
        return self._head(principal) | {
            "dry_run": self.dry_run,
            "rows": self.rows,
            "blank_lines": self.blank,
            "findings": [
                {name: _said(principal, getattr(each, name)) for name in _FOUND} for each in self.findings.values()
            ],
            "first_rows": first,
        }

    def in_header(self, principal: Principal) -> dict[str, str]:
        """The beginning of the receipt, for an answer that is a stream of rows; without columns whose names are long or many."""
        head = self._head(principal)
        written = json.dumps(head)
        return {"Acuse-Reading": written if len(written) <= _HEADER_BYTES else json.dumps(head | {"columns": None})}

    def _head(self, principal: Principal) -> dict[str, Any]:
        columns = self.columns
        if columns is not None and not principal.sees_all:
            columns = {mask_numbers(name): field and mask_numbers(field) for name, field in columns.items()}
        return {
            "format": _FORMATS[self.content_type],
            "encoding": self.encoding or UTF8,
            "separator": self.separator,
            "columns": columns,
        }

    def _shown(self, row: Line | BadRow, details: Mapping[int, str], principal: Principal) -> dict[str, Any]:
        after, detail = self._after(row)
        detail = details.get(row.number, detail)
        if after is not None and not principal.sees_all:
            after = masked({mask_numbers(name): value for name, value in after.items()})
        return {
            "line": row.number,
            "before": self._written(row) if principal.sees_all else None,
            "after": None if detail else after,
            "detail": detail,
        }

    def _written(self, row: Line | BadRow) -> str | None:
        if isinstance(row, Line) and isinstance(row.value, bytes):
            return row.value[:_SAMPLE_LETTERS].decode("utf-8", "replace")
        return self._before.get(row.number)

    def _after(self, row: Line | BadRow) -> tuple[dict[str, Any] | None, str | None]:
        if isinstance(row, BadRow):
            return None, row.detail
        try:
            value = row.read()
        except RowRefused as error:
            return None, str(error)
        if not isinstance(value, Mapping):
            return None, None
        found = dict(value)
        if row.csv and self.shape.others == "params":
            params = {name: found.pop(name) for name in list(found) if name not in self.shape.fields}
            found |= {"params": params} if params else {}
        if ADDRESS in self.shape.fields and isinstance(found.get(ADDRESS), str):
            found[ADDRESS] = normalise(found[ADDRESS][:_SAMPLE_LETTERS], self.region)
        return _short(found), None


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """As much of `row` as is shown of one: its first fields."""
    found, size = {}, 0
    for name, value in row.items():
        short = value[:_SAMPLE_LETTERS] if isinstance(value, str) else value
        size += len(orjson.dumps({name: short}))
        if size > _MOST_BYTES:
            break
        found[name] = short
    return found


def _said(principal: Principal, value: Any) -> Any:
    return principal.text(value) if isinstance(value, str) else value
