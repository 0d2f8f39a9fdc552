"""Findings that need a broken machine, a database in some state, or minutes: where their tests are, so that none is missing."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]
FINDINGS = (
    *(f"C{number}" for number in range(1, 5)),
    *(f"H{number}" for number in range(1, 7)),
    *(f"M{number}" for number in range(1, 11)),
    *(f"L{number}" for number in range(1, 11)),
)
#: File, and words that stand in the names of its tests.
ELSEWHERE: dict[str, tuple[tuple[str, str], ...]] = {}


def missing(finding: str) -> list[str]:
    """The references of `finding` that lead nowhere."""
    return [
        f"{file}: {words}"
        for file, words in ELSEWHERE[finding]
        if not (_ROOT / file).exists() or words not in (_ROOT / file).read_text("utf-8")
    ]
