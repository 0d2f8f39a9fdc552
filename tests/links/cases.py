"""The cases of links, each kind in a file of `tests/cases/links`: what people met with, and more of its kind."""

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[1] / "cases/links"


def cases(kind: str, *fields: str) -> list[tuple[Any, ...]]:
    """The values of `fields` of each case, for `parametrize`."""
    found: list[dict[str, Any]] = json.loads((_FOLDER / f"{kind}.json").read_text("utf-8"))
    return [tuple(each[field] for field in fields) for each in found]
