"""The life of a delivery: which change is allowed in which status. Pure.

editing → preparing → prepared → in_progress → finished; cancelled and failed end it from anywhere before finished.
"""

from typing import Literal

Status = Literal["editing", "preparing", "prepared", "in_progress", "finished", "cancelled", "failed"]

#: What no message has anything of: it can change at any time, and makes nothing prepared stale.
NOTED = frozenset({"label", "metadata"})
EDITABLE: frozenset[Status] = frozenset({"editing", "prepared"})
PROVABLE: frozenset[Status] = frozenset({"editing", "prepared", "in_progress"})
CANCELLABLE: frozenset[Status] = frozenset({"editing", "preparing", "prepared", "in_progress"})


class Locked(Exception):
    """The delivery's status forbids the change; the text is a sentence for people."""


def after_edit(status: Status) -> Status:
    """The status after a change: what was prepared must be prepared again. Raises `Locked`."""
    if status not in EDITABLE:
        raise Locked(
            f"A delivery can be changed while it is editing or prepared; this one is {_said(status)}. Its label and metadata "
            "can change at any time."
        )
    return "editing"


def after_prepare(status: Status) -> Status:
    """The status once its preparation was asked for. Raises `Locked` when that is under way or too late."""
    if status == "preparing":
        raise Locked("This delivery is being prepared already.")
    if status not in EDITABLE:
        raise Locked(f"A delivery can be prepared while it is editing or prepared; this one is {_said(status)}.")
    return "preparing"


def after_start(status: Status) -> Status:
    """The status once started. Raises `Locked` unless it is prepared."""
    if status != "prepared":
        raise Locked(f"A delivery can be started once it is prepared; this one is {_said(status)}.")
    return "in_progress"


def check_schedule(status: Status) -> None:
    """Raises `Locked` unless a time for its start can be set."""
    if status != "prepared":
        raise Locked(f"A time for the start can be set once the delivery is prepared; this one is {_said(status)}.")


def check_pause(status: Status) -> None:
    """Raises `Locked` unless it is on its way."""
    if status != "in_progress":
        raise Locked(f"A delivery can be paused, and go on, while it is in progress; this one is {_said(status)}.")


def check_outbox(status: Status) -> None:
    """Raises `Locked` when there is nothing to hand over."""
    if status != "in_progress":
        raise Locked(f"A delivery has an outbox while it is in progress; this one is {_said(status)}.")


def check_proofs(status: Status) -> None:
    """Raises `Locked` when proofs make no sense: while it is being prepared, or over."""
    if status not in PROVABLE:
        raise Locked(
            f"Proofs can be made of a delivery that is editing, prepared or in progress; this one is {_said(status)}."
        )


def check_delete(status: Status) -> None:
    """Raises `Locked` unless it is a draft: nothing of it was sent."""
    if status not in EDITABLE:
        raise Locked(f"A delivery can be deleted while it is editing or prepared; this one is {_said(status)}.")


def after_cancel(status: Status) -> Status:
    """The status once cancelled. Raises `Locked` when it is over already."""
    if status not in CANCELLABLE:
        raise Locked(f"A delivery can be cancelled until it is over; this one is {_said(status)}.")
    return "cancelled"


def _said(status: Status) -> str:
    return status.replace("_", " ")
