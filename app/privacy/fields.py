"""What may hold personal data, field by field, and what a key without `pii:read` sees of it: the one place for both.

Every row of an answer goes through `masked` on its way out (`Principal.shown`), in every format. A field that does not
stand here is masked whole, and a test fails until somebody has decided about it.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, func

from app.privacy.masking import MASK, holds_number, mask, mask_numbers, mask_within


class Class(Enum):
    """What a field holds, and so how it is shown without `pii:read`. `None` stays None."""

    PLAIN = "plain"  # of ours, or about nobody: as it is
    NUMBER = "number"  # somebody's number: `+34600•••000`
    OURS = "ours"  # what we send from; a number is masked like others, a name or a short code stays
    WHOLE = "whole"  # names somebody by itself: `•••`; of an object its values
    TEXT = "text"  # written by people or providers: numbers and mail addresses in it are masked
    DEEP = "deep"  # anything at all: masked however deep
    JOURNAL = "journal"  # our own words around such values: by the names in it
    HIDDEN = "hidden"  # left out: null
    ROWS = "rows"  # objects of their own, each field by its class


def _all(found: Class, names: str) -> Mapping[str, Class]:
    return dict.fromkeys(names.split(), found)


#: By name. One name means one thing; where it does not, `OF` says so.
FIELDS: Mapping[str, Class] = {
    **_all(
        Class.PLAIN,
        """
        accepted accepted_at action actor addresses after alive allowed applied_at at at_least before broken_at
        by_failure_type by_gateway by_reason by_status callback_url cancelled chain changed clears_at click_id
        click_through_rate clicked_at clicks closed_at code contradictory control control_share copied copied_from cost count
        counted_at counters countries country created_at currency database days deadline decided_by decision
        decisions default_region deliveries deliveries_told delivery_id device docs done doubtful drift dry_run
        effect encoding ending erased erased_at except excluded excluded_at excluded_by_reason failed failed_at
        failure_type failures finals finding finished_at first first_message_id first_receipt_at first_seen_at fixed
        force from gateway given hash held human id in_content in_transit inbound_id intact journal_entries kept key
        key_id keyword kind landlines last last_error_at last_message_id last_receipt_at last_seen_at latency
        left_out left_out_because left_out_message_ids level limit line link links local_times machine_clicks match
        matched matched_by max_messages max_messages_days max_parts median_seconds message_id messages method
        methods mode new new_quarantines next_cursor no_receipt number numbering occurred_at occurrences omitted only openapi
        opened_at origin outcome p95_seconds part parts parts_received paused_at pending personal position positions
        premium_rate price processed progress proof proofs pseudonym qualification_id quarantines queued rates
        raw_bytes read ready reasons receipt_id receipts received received_at recorded_at region rejected rekeyed
        renamed repeat_of replaced retried_at sample_bytes scheduled_at scope scopes seconds secret secrets sent sent_at seq
        share shipped short_url signature since spool spooled started_at state states_changed step steps
        submission_id submitted_at success success_of_processed targeted targets template text_bytes
        timeline_complete timeline_omitted expires_at ticket to to_send token total totals tracked tracking type unique_clicks
        unknown_receipts unmatched until updated_at usual_share validity_seconds verified version what where
        would_match
        kept_away_by_reason language opt_out opt_outs part_reference replies
        blank_lines format rows separator
        differing known_errors shared_with shares_with
        """,
    ),
    # whose number it is
    "address": Class.NUMBER,
    "sender": Class.OURS,
    "recipient": Class.OURS,
    "short_code": Class.OURS,
    # who it is, in the words of whoever sends
    "recipient_id": Class.WHOLE,
    "reference": Class.WHOLE,
    "params": Class.WHOLE,
    "username": Class.WHOLE,
    # what people and providers wrote
    **_all(
        Class.TEXT,
        """
        agent canonical_id cause content content_type detail_text error error_code error_text failure_key first_text
        delivery_label implementation label name network note provider_message_id provider_message_ids query raw reason reply rule
        sample sentence source source_url status status_text text url words
        failure_source old_implementation
        """,
    ),
    **_all(
        Class.DEEP,
        """
        columns details hint metadata options unknown_statuses
        """,
    ),
    **_all(
        Class.JOURNAL,
        """
        data detail request rules
        """,
    ),
    # objects (those of a reading are masked where it is made: what its rows hold is known there)
    **_all(
        Class.ROWS,
        """
        auth breaker by_part entries errors evidence exclusions fields findings first_rows health inbound indicators items
        journals message moved per_delivery preparation qualification reading remains target timeline
        per_error warnings
        """,
    ),
}
#: Where a name means something else than elsewhere: of which object, and what.
OF: Mapping[str, Mapping[str, Class]] = {
    "click": {"network": Class.HIDDEN},  # where somebody was
    "link": {"params": Class.DEEP},  # added to a URL, the same for everybody
    "proof": {"text": Class.WHOLE},  # with the params of one person filled in
    "message": {"metadata": Class.WHOLE},  # of one person, like params
    "inbound": {"sender": Class.NUMBER},  # as the gateways' adapters call who wrote
    "key": {"name": Class.PLAIN},
}
_DEFAULT: Mapping[str, Class] = {}


def class_of(name: str, of: str = "") -> Class:
    """An unknown field is masked whole."""
    return OF.get(of, _DEFAULT).get(name) or FIELDS.get(name, Class.WHOLE)


def masked(row: Mapping[str, Any], of: str = "") -> dict[str, Any]:
    """`row`, an object of an answer (`of`: of which sort, where `OF` knows it), as one without `pii:read` sees it."""
    found = dict(row)
    for name, change in _changes(of, tuple(found)):
        value = found[name]
        if value is not None:
            found[name] = change(value)
    if "reference" in found and row["reference"] == f"acuse-{row.get('message_id') or row.get('id')}":
        found["reference"] = row["reference"]  # of ours: it says no more than the id beside it
    if found.get("encoding") == "base64":  # nobody can look into it
        found |= {"raw": None, "encoding": "hidden"}
    return found


def names_somebody(row: Mapping[str, Any]) -> bool:
    """Whether `row`, shown whole, gives out somebody's number: its own, or a body that was sent about it."""
    return bool(row.get("address") or row.get("raw") or row.get("sample"))


@lru_cache(maxsize=1_024)
def _changes(of: str, names: tuple[str, ...]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    return tuple((name, _MASKS[found]) for name in names if (found := class_of(name, of)) is not Class.PLAIN)


# --- searching in what is masked -------------------------------------------------------------------------------------

#: PostgreSQL's spelling of what `app.privacy.masking` masks in texts: it may find more, never less.
_SQL_DIGIT = r"(?:[[:digit:]]|%3[[:digit:]]|\\u003[[:digit:]])"
_SQL_BETWEEN = (
    r"(?:[[:space:].()/+_·\u2010-\u2015\u2212\u00ad\u180e\u200b-\u200f\u2060\ufeff\u00a0-]|%(?:20|2[89bBdDeEfF]|[aA]0)"
    r"|\\u00[aA]0)"
)
_SQL_MASKED = (
    rf"(?:\+|%2[bB])?{_SQL_DIGIT}(?:{_SQL_BETWEEN}{{0,4}}{_SQL_DIGIT}){{6,}}"
    r"|[\w.+%'&=-]*(?:@|%40|\\u0040)[\w-]+(?:\.[\w-]+)+"
)


def searched(column: ColumnElement[Any], *, masked: bool) -> ColumnElement[Any]:
    """`column` of free text as whoever searches in it may see it: what is masked cannot be found by asking, either."""
    return func.regexp_replace(column, _SQL_MASKED, MASK, "g") if masked else column


# --- how each class is masked ----------------------------------------------------------------------------------------


def _number(value: Any) -> Any:
    return mask(value) if isinstance(value, str) and value else value


def _ours(value: Any) -> Any:
    return mask(value) if isinstance(value, str) and holds_number(value) else value


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {mask_numbers(str(name)): MASK for name in value}
    return [MASK for _ in value] if isinstance(value, list | tuple) else MASK


def _text(value: Any) -> Any:
    """Of a field of text; times and truth values can stand in the place of one."""
    if isinstance(value, str):
        return mask_numbers(value)
    return mask_within(value) if isinstance(value, Mapping | list | tuple) else value


def _journal(value: Any) -> Any:
    """Names of ours tell what their values are; figures are ours, too."""
    if isinstance(value, Mapping):
        return {mask_numbers(str(name)): _named(str(name), each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_journal(each) for each in value]
    return mask_numbers(value) if isinstance(value, str) else value


def _named(name: str, value: Any) -> Any:
    found = Class.JOURNAL if name in _BEFORE_AND_AFTER else FIELDS.get(name, Class.JOURNAL)
    if value is None or found in (Class.JOURNAL, Class.ROWS):
        return _journal(value)
    if isinstance(value, Mapping) and value.keys() <= _BEFORE_AND_AFTER:
        return {side: _named(name, each) for side, each in value.items()}
    if found is Class.PLAIN:
        holds_more = isinstance(value, Mapping) or (
            isinstance(value, list) and any(isinstance(e, Mapping | list) for e in value)
        )
        return _journal(value) if holds_more else value
    return _MASKS[found](value)


#: How journals write a change: what it is of stands before.
_BEFORE_AND_AFTER = frozenset({"old", "new", "from", "to"})


def _rows(value: Any) -> Any:
    if isinstance(value, Mapping):
        return masked(value)
    if isinstance(value, list | tuple):
        return [masked(each) if isinstance(each, Mapping) else _text(each) for each in value]
    return value


def _hidden(value: Any) -> None:
    return None


_MASKS: Mapping[Class, Callable[[Any], Any]] = {
    Class.NUMBER: _number,
    Class.OURS: _ours,
    Class.WHOLE: _whole,
    Class.TEXT: _text,
    Class.DEEP: mask_within,
    Class.JOURNAL: _journal,
    Class.HIDDEN: _hidden,
    Class.ROWS: _rows,
}
