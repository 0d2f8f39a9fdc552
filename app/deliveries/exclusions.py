"""Why a target is not sent to, as a sentence for people. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from app.numbers import unread

#: In the order of the rules (domain.md §7); what the reason means for all that have it.
CAUSES: Mapping[str, str] = {
    "address_not_specified": "No address was given.",
    "invalid_address": "This is not a possible phone number.",
    "double": "The address stands more than once in the delivery; the first stays.",
    "denylisted": "The person does not want messages.",
    "quarantined": "The address failed before and is in quarantine.",
    "control_group": "The recipient belongs to the control group.",
    "excluded_by_rule": "A rule of the delivery leaves the number out.",
    "excluded_by_arbitration": "The address has had as many messages as the delivery allows.",
    "size_limited": "The text would take more parts than the delivery allows.",
}

Detail = Mapping[str, Any]


def sentence(reason: str, detail: Detail | None) -> str:
    """What happened to one target; without its detail, what the reason means."""
    explain = _EXPLAINED.get(reason)
    said = explain(detail) if explain is not None and detail else None
    return said or CAUSES.get(reason, reason)


def _invalid(detail: Detail) -> str:
    if detail.get("erased"):
        return "The number was erased: nobody knows it any more."
    return unread(detail.get("why"), detail.get("region"))


def _double(detail: Detail) -> str:
    recipient = f" (recipient {detail['recipient_id']})" if detail.get("recipient_id") else ""
    return f"The address stands in the delivery already: target {detail['position']}{recipient} stays."


def _kept_away(text: str) -> Callable[[Detail], str]:
    def explained(detail: Detail) -> str:
        sender = f" of messages from {detail['sender']}" if detail.get("sender") else ""
        since = f" since {detail['since'][:10]}" if detail.get("since") else ""
        return f"{text}{sender}{since}: {detail.get('reason')}, from {detail.get('origin')}."

    return explained


def _control(detail: Detail) -> str:
    if "share" in detail:
        return f"Drawn for the control group, a random {detail['share']:.1%} of the audience."
    return "Listed as control group."


def _rule(detail: Detail) -> str | None:
    if detail.get("rule") == "country":
        place = f"a number of {detail['country']}" if detail.get("country") else "a number of no one country"
        return f"This is {place}, which the delivery's countries leave out."
    kinds = {"landline": "a landline", "premium_rate": "a premium-rate number"}
    name = kinds.get(str(detail.get("rule")))
    return f"This is {name}, which the delivery leaves out." if name else None


def _arbitration(detail: Detail) -> str:
    return (
        f"The address has {detail['messages']} messages of other deliveries in {detail['days']} days; "
        f"the delivery allows {detail['limit']}, its own included."
    )


def _size(detail: Detail) -> str:
    return f"The text would take {detail['parts']} parts; the delivery allows {detail['limit']}."


_EXPLAINED: Mapping[str, Callable[[Detail], str | None]] = {
    "invalid_address": _invalid,
    "double": _double,
    "denylisted": _kept_away("Opted out"),
    "quarantined": _kept_away("In quarantine"),
    "control_group": _control,
    "excluded_by_rule": _rule,
    "excluded_by_arbitration": _arbitration,
    "size_limited": _size,
}
