"""Times and side fields as public reports have them: none of them costs the receipt."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.gateways import GATEWAYS
from app.gateways.receipt import Auth, Callback, Gateway, Receipt, Unreadable

FILES = sorted((Path(__file__).parent / "time").glob("*.json"))
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['id']}")
    for path in FILES
    for case in json.loads(path.read_text("utf-8"))
]


@pytest.mark.parametrize("case", CASES)
def test_a_receipt_is_read_whatever_its_times_and_side_fields_look_like(case: dict[str, Any]) -> None:
    adapter = GATEWAYS[case["gateway"]]
    options = adapter.options.model_validate(case["options"])
    auth = Auth(mode="none")
    gateway = Gateway(id=1, key="k1", kind=adapter.kind, implementation="k1", options=options, auth=auth)
    url = "https://acuse.example.test/callbacks/k1"
    callback = Callback(method="POST", url=url, query="", headers={}, body=orjson.dumps(case["body"]))
    [item] = adapter.parse(callback, gateway)
    want = case["want"]
    if "refused" in want:
        assert isinstance(item, Unreadable)
        assert item.reason == want["refused"]
        return
    assert isinstance(item, Receipt), item
    assert item.outcome == want["status"]
    at = item.occurred_at and item.occurred_at.isoformat().replace("+00:00", "Z")
    assert at == want.get("occurred_at")
    price = None if item.price is None else f"{item.price.normalize():f}"
    assert price == want.get("price")
    warnings = item.details.get("warnings", [])
    assert len(warnings) == ("warning" in want)
    assert not warnings or warnings[0].startswith(want["warning"])
