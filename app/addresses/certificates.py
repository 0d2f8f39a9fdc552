"""What an erasure leaves behind as its proof: it names nobody, and says what is beyond the reach of the service."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app.privacy.pseudonyms import PREFIX

KEPT = (
    "Health, opt-outs, messages, receipts and counters are kept under the pseudonym: opt-outs and quarantine still hold for "
    "the number, later receipts still count, and all figures stay as they were."
)
#: What this service cannot take away by itself, and when it is gone.
REMAINS: Sequence[Mapping[str, str]] = (
    {
        "where": "tables",
        "what": "Earlier versions of the changed rows, in PostgreSQL's own files; no query and no pg_dump reads them.",
        "until": "(auto)vacuum has freed them and their room was written again; VACUUM FULL of the tables named in "
        "`replaced` does it at once.",
    },
    {
        "where": "write_ahead_log",
        "what": "The log of changes before the erasure, on this server, its replicas and in archives.",
        "until": "Checkpoints have recycled its files, and archives have reached their end.",
    },
    {
        "where": "backups",
        "what": "Copies made before, of the database or of the data directory.",
        "until": "They have reached their end; after restoring one the number has to be erased again.",
    },
    {
        "where": "stored_answers",
        "what": "Answers kept for `Idempotency-Key`, which only the API key that asked can open.",
        "until": "A day after the request.",
    },
    {
        "where": "other_hosts",
        "what": "Receipts in the spool of another host whose database was away.",
        "until": "It has brought them: they are new facts then, and need another erasure.",
    },
)


def certificate(
    *,
    pseudonym: str,
    at: datetime,
    actor: str,
    reason: str,
    before: Mapping[str, Any],
    replaced: Counter[str],
    journals: Sequence[Mapping[str, Any]],
    dry_run: bool,
) -> dict[str, Any]:
    """Of this time and those `before`; a dry run says what this time would replace."""
    total = replaced if dry_run else Counter(before.get("replaced", {})) + replaced
    return {
        "id": id_of(pseudonym),
        "pseudonym": pseudonym,
        "erased_at": before.get("erased_at") or at.isoformat().replace("+00:00", "Z"),
        "actor": before.get("actor") or actor,
        "reason": before.get("reason") or reason,
        "replaced": dict(sorted(total.items())),
        "journal_entries": len(journals),
        "journals": list(journals[:1_000]),
        "kept": KEPT,
        "remains": [dict(each) for each in REMAINS],
        "dry_run": dry_run,
    }


def id_of(pseudonym: str) -> str:
    """A certificate's id, which is fit for a URL."""
    return pseudonym.removeprefix(PREFIX)


def shown(row: Any) -> dict[str, Any]:
    """A row of `erased`: its certificate, with what older versions did not say. One without any was broken off between its
    parts, and waits for its request to be sent again."""
    found = dict(row["certificate"])
    blank = {
        "id": id_of(row["pseudonym"]),
        "pseudonym": row["pseudonym"],
        "erased_at": row["erased_at"],
        "actor": "",
        "reason": "",
        "replaced": {},
        "journal_entries": 0,
        "journals": [],
        "kept": KEPT,
        "remains": [dict(each) for each in REMAINS],
        "dry_run": False,
    }
    return blank | found
