"""Replies of which others' services made the wrong thing: as they were reported, and more of their kinds."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.gateways import GATEWAYS
from app.gateways.receipt import Auth, Callback, Gateway, Inbound, Item, Receipt
from app.inbound.rules import SHIPPED, Rule, verdict

CASES = Path(__file__).parents[1] / "cases" / "replies"
TEXTS: list[dict[str, Any]] = json.loads((CASES / "texts.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("case", "text"),
    [pytest.param(case, text, id=f"{case['rule']}: {text}") for case in TEXTS for text in case["texts"]],
)
def test_a_reported_reply(case: dict[str, Any], text: str) -> None:
    own = [Rule(keyword=keyword, action=action) for keyword, action in case.get("rules", [])]
    want = [case["but"][text]] if text in case.get("but", {}) else case["want"]
    assert verdict(own or SHIPPED, text, "5555").action in want


CALLBACKS: list[dict[str, Any]] = json.loads((CASES / "callbacks.json").read_text("utf-8"))


def item_of(case: dict[str, Any]) -> Item:
    """What the adapter reads in the callback of `case`."""
    adapter = GATEWAYS[case["kind"]]
    query = case.get("query", "")
    body = urlencode(case["form"]).encode() if "form" in case else json.dumps(case.get("body")).encode()
    callback = Callback(
        method="GET" if query else "POST",
        url=f"https://dlr.example.test/callbacks/a?{query}",
        query=query,
        headers={},
        body=body,
    )
    account = Gateway(
        id=1,
        key="a",
        kind=case["kind"],
        implementation="a",
        options=adapter.options(),
        auth=Auth(mode="token", secrets=("s",)),
    )
    (item,) = adapter.parse(callback, account)
    return item


@pytest.mark.parametrize("case", [pytest.param(case, id=case["rule"]) for case in CALLBACKS])
def test_a_reported_callback(case: dict[str, Any]) -> None:
    item, want = item_of(case), case["want"]
    if "outcome" in want:
        assert isinstance(item, Receipt)
        assert (item.outcome, item.provider_message_id) == (want["outcome"], want["id"])
        return
    assert isinstance(item, Inbound)
    assert verdict(SHIPPED, item.text, item.recipient, opt_out=item.opt_out).action == want["action"]
    assert item.text == want.get("text", item.text)
    assert [item.part, item.parts] == want.get("part", [None, None])
