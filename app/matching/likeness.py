"""When two JSON objects say the same."""

from collections.abc import Mapping
from typing import Any

import orjson


def in_one_form(metadata: Mapping[str, Any] | None) -> bytes | None:
    """The same for what the database gives back as for what it was given."""
    return orjson.dumps(_whole(metadata), option=orjson.OPT_SORT_KEYS) if metadata else None


def _whole(value: Any) -> Any:
    """With figures such as `1e3` as the whole numbers that they are."""
    if isinstance(value, Mapping):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value
