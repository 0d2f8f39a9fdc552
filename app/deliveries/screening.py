"""What the numbers, the delivery's rules and its text alone say of targets. Pure; a chunk goes through in columns.

What needs to know of others (doubles, the quarantine, messages of other deliveries) is decided in SQL, by `outcomes` in
`queries.sql`, which puts both together in the order of the rules.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.deliveries.rules import Rules
from app.deliveries.tally import Tally
from app.deliveries.texts import Text
from app.identities import SEVERAL_SPELLINGS, spellings
from app.numbers import normalise, why_not
from app.privacy.pseudonyms import PREFIX, Pseudonyms
from app.texts.encoding import measure
from app.texts.placeholders import MissingParam

Row = Mapping[str, Any]
_SHARES = 2**64
_SEVERAL = frozenset(SEVERAL_SPELLINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """Some targets, column by column as `outcomes` takes them, and what was counted on the way."""

    positions: list[int] = field(default_factory=list)
    #: E.164; as given where it is no possible number.
    addresses: list[str] = field(default_factory=list)
    recipients: list[str | None] = field(default_factory=list)
    #: Another name of the phone: its pseudonym, once anybody was erased. Empty while nobody has one.
    others: list[str | None] = field(default_factory=list)
    #: Places of addresses that have several spellings.
    spelt: list[int] = field(default_factory=list)
    #: A reason that comes before doubles and the quarantine; and one that comes after them.
    early: list[str | None] = field(default_factory=list)
    late: list[str | None] = field(default_factory=list)
    details: list[dict[str, Any] | None] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    #: The first placeholder that has no value.
    missing: list[str | None] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    delivery_id: int
    region: str | None
    rules: Rules
    text: Text
    #: Of the message that target 1 becomes.
    first_message_id: int
    #: This installation's; its key also draws the control group.
    pseudonyms: Pseudonyms = field(repr=False)
    any_erased: bool

    def screen(self, rows: Sequence[Row], into: Screened) -> None:
        """Adds `rows` to `into`. A thousand take a few milliseconds."""
        start = len(into.positions)
        into.positions.extend(row["position"] for row in rows)
        into.recipients.extend(row["recipient_id"] for row in rows)
        with into.tally.step("numbers", len(rows)):
            self._read_numbers(rows, into)
        with into.tally.step("rules", len(rows)):
            self._apply_rules(rows, into, start)
        with into.tally.step("texts", len(rows)):
            self._measure_texts(rows, into, start)

    def _read_numbers(self, rows: Sequence[Row], into: Screened) -> None:
        region = self.region
        for row in rows:
            given = row["given"]
            # Whom a pseudonym stands for cannot be sent to; an opt-out that is kept under it is the better reason.
            address = given if given.startswith(PREFIX) else normalise(given, region)
            into.addresses.append(address or given)
            if address is not None:
                if address[:3] in _SEVERAL and len(spellings(address)) > 1:
                    into.spelt.append(len(into.early))
                into.early.append(None)
                into.details.append(None)
            elif given.strip():
                into.early.append("invalid_address")
                into.details.append({"region": region, "why": why_not(given, region)})
            else:
                into.early.append("address_not_specified")
                into.details.append(None)
        if self.any_erased:
            new = into.addresses[len(into.others) :]
            into.others.extend(map(self.pseudonyms.of, new))

    def _apply_rules(self, rows: Sequence[Row], into: Screened, start: int) -> None:
        share = int(self.rules.control_share * _SHARES)
        of_number = self.rules.of_number
        for place, row in enumerate(rows, start):
            late: str | None = None
            detail: dict[str, Any] | None = None
            if into.early[place] is None:
                address = into.addresses[place]
                if address.startswith(PREFIX):
                    late, detail = "invalid_address", {"erased": True}
                elif row["control"]:
                    late, detail = "control_group", {"listed": True}
                elif share and self._draw(address) < share:
                    late, detail = "control_group", {"share": self.rules.control_share}
                elif found := of_number(address):
                    late, detail = "excluded_by_rule", found
                if late is not None:
                    into.details[place] = detail
            into.late.append(late)

    def _draw(self, address: str) -> int:
        """A number below 2^64: random over addresses, always the same for one in this delivery."""
        salt = self.delivery_id.to_bytes(16, "big")
        drawn = hashlib.blake2b(address.encode(), key=self.pseudonyms.key, salt=salt, person=b"control", digest_size=8)
        return int.from_bytes(drawn.digest(), "big")

    def _measure_texts(self, rows: Sequence[Row], into: Screened, start: int) -> None:
        text, id_before = self.text, self.first_message_id - 1  # of the message that target 0 would be
        alike = text.alike(id_before + rows[0]["position"], id_before + rows[-1]["position"])
        if text.is_fixed and alike is not None:
            self._take_over(measure(text.render({}, alike)).parts, len(rows), into, start)
            return
        nothing: Mapping[str, Any] = {}
        for place, row in enumerate(rows, start):
            missing, parts = None, 1
            if into.early[place] is None:
                params = row["params"] or nothing
                short_urls = alike if alike is not None else text.short_urls(id_before + row["position"])
                try:
                    size = measure(text.render(params, short_urls))
                except MissingParam as error:
                    missing = error.name
                else:
                    parts = size.parts
                    if parts > self.rules.most_parts:
                        self._limit(into, place, parts)
                    if into.late[place] is None:
                        foreign = size.encoding == "ucs2"
                        into.tally.note_params(text.names, params, foreign=foreign, defaults=text.defaults)
            into.parts.append(parts)
            into.missing.append(missing)

    def _take_over(self, parts: int, count: int, into: Screened, start: int) -> None:
        """All texts are of the same size."""
        into.parts.extend([parts] * count)
        into.missing.extend([None] * count)
        if parts > self.rules.most_parts:
            for place in range(start, len(into.positions)):
                self._limit(into, place, parts)

    def _limit(self, into: Screened, place: int, parts: int) -> None:
        """Comes last of all rules: what another one leaves out keeps that one's reason."""
        if into.early[place] is None and into.late[place] is None:
            into.late[place] = "size_limited"
            into.details[place] = {"parts": parts, "limit": self.rules.most_parts}
