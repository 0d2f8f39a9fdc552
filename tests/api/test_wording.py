"""What is wrong with a field is said in our words, with its name, and without what was sent."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from app.api.reader import sentence
from app.deliveries.models import DeliveryChange, NewDelivery
from app.errors import Invalid, not_valid, title_of
from app.platform.gateways import NewGateway
from app.platform.keys import NewKey
from app.problems import field_errors
from app.submissions.api import MessageRow

GOOD = {"label": "Sale", "sender": "Acme"}
SLUG_SAYS = "must be 1 to 63 small letters, digits, `-` or `_`, a letter or digit first"
METADATA = {"address": "+34600123123"}
TOO_LARGE = "must not contain numbers of more than 64 bits; give them as texts"
GATEWAY = {"key": "acme", "kind": "generic", "auth": {"mode": "none"}}


@pytest.mark.parametrize(
    ("model", "body", "says"),
    [
        (NewDelivery, {"sender": "Acme"}, "`label` is missing."),
        (NewDelivery, GOOD | {"label": 5}, "`label` must be a text."),
        (NewDelivery, GOOD | {"label": ""}, "`label` must have at least 1 character."),
        (NewDelivery, GOOD | {"label": "x" * 201}, "`label` must have at most 200 characters."),
        (NewDelivery, GOOD | {"gateway": ""}, "`gateway` must have at least 1 character."),
        (NewDelivery, GOOD | {"validity_seconds": "60"}, "`validity_seconds` must be a whole number."),
        (NewDelivery, GOOD | {"validity_seconds": 59}, "`validity_seconds` must be at least 60."),
        (NewDelivery, GOOD | {"validity_seconds": 9_999_999}, "`validity_seconds` must be at most 2592000."),
        (NewDelivery, GOOD | {"tracking": "yes"}, "`tracking` must be true or false."),
        (NewDelivery, GOOD | {"metadata": []}, "`metadata` must be an object."),
        (NewDelivery, GOOD | {"rules": {"landlines": "never"}}, "`rules.landlines` must be one of exclude, send."),
        (NewDelivery, GOOD | {"colour": "red"}, "`colour` is no field here."),
        (NewDelivery, GOOD | {"+34600123123": 1}, "`…` is no field here."),
        (NewDelivery, [], "`body` must be an object."),
        (DeliveryChange, {"label": None}, "`label` cannot be null."),
        (NewKey, {"name": "A b", "scopes": ["admin"]}, f"`name` {SLUG_SAYS}."),
        (NewKey, {"name": "a", "scopes": []}, "`scopes` must have at least 1 item."),
        (NewKey, {"name": "a", "scopes": "admin"}, "`scopes` must be a list."),
        (NewGateway, GATEWAY | {"auth": {"mode": "magic"}}, "`auth.mode` must be one of token, basic, bearer, signature, none."),
    ],
)  # fmt: skip
def test_a_wrong_field_of_a_body(model: type[BaseModel], body: Any, says: str) -> None:
    with pytest.raises(ValidationError) as error:
        model.model_validate(body)
    found = field_errors([{**each, "loc": ("body", *each["loc"])} for each in error.value.errors()])
    assert [each["detail"] for each in found] == [says]
    assert not_valid(found) == f"The request is not valid: {says}"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({}, "`address` is missing."),
        (5, "The row is not a JSON object."),
        ({"address": 5}, "`address` must be a text."),
        ({"address": ""}, "`address` must have at least 1 character."),
        ({"address": "+34600123123", "provider_message_ids": ["a", 5]}, "`provider_message_ids[1]` must be a text."),
        ({"address": "+34600123123", "adress": 5}, "`adress` is no field here."),
        (METADATA | {"metadata": '{"order": 7'}, "`metadata` must be an object, as JSON."),
        (METADATA | {"metadata": "7"}, "`metadata` must be an object."),
        (METADATA | {"metadata": '{"order": 123456789012345678901}'}, f"`metadata` {TOO_LARGE}."),
        (METADATA | {"metadata": '{"order": ' + "9" * 90_000 + "}"}, "`metadata` must be an object, as JSON."),
        (METADATA | {"metadata": '{"order": 1e400}'}, "`metadata` must not contain numbers that are none."),
        (METADATA | {"metadata": '{"order": "\\ud800"}'}, "`metadata` must be an object, as JSON."),
        (
            METADATA | {"metadata": '{"a":' * 21 + "1" + "}" * 21},
            "`metadata` must not be nested deeper than 20 levels.",
        ),
        (METADATA | {"metadata": '{"a":' * 5_000}, "`metadata` must be an object, as JSON."),
        (
            {"address": "+34600123123", "submitted_at": "yesterday"},
            "`submitted_at` must be a time with its zone, such as 2026-03-04T10:15:42Z (RFC 3339).",
        ),
    ],
)
def test_a_wrong_field_of_a_row(row: Any, says: str) -> None:
    with pytest.raises(ValidationError) as error:
        TypeAdapter(MessageRow).validate_python(row)
    assert sentence(error.value) == says


def test_a_refusal_names_the_field_whatever_its_own_sentence_says() -> None:
    assert Invalid.field("?gateway", "There is no such gateway.").detail == (
        "The request is not valid: `gateway`: There is no such gateway."
    )
    many = [{"pointer": f"/items/{number}", "detail": "It is wrong."} for number in range(5)]
    assert Invalid.fields(many).detail.endswith("`items.2`: It is wrong. And 2 more.")


@pytest.mark.parametrize(
    ("status", "title"),
    [(413, "Content Too Large"), (414, "URI Too Long"), (422, "Unprocessable Content"), (404, "Not Found")],
)
def test_a_status_has_one_title_whatever_python_calls_it(status: int, title: str) -> None:
    assert title_of(status) == title
