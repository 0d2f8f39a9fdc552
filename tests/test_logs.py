"""No phone number leaves by the logs, whoever wrote the line."""

import io
import logging
from collections.abc import Iterator

import orjson
import pytest
import structlog

from app import logs


@pytest.mark.parametrize(
    "text",
    [
        "+34600123000",
        "to=+34600123000&from=x",
        "0034600123000",
        "%2B34600123000",
        "%2b34600123000",
        "34600123000",
        "600123000",
        "to%3D34600123000",
        "('34600123000',)",
        "Key (address)=(+34600123000) already exists.",
    ],
)
def test_what_looks_like_a_phone_number_is_masked(text: str) -> None:
    assert "600123" not in logs.mask_phones(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:00:00.123456Z",
        "er_1234567890abcdef1234567890abcdef",
        "DLV-0001 took 12345678 ns",
        "127.0.0.1:8000",
        "GET /v1/messages/12345",
        "7e57d004-2b97-0e7a-b45f-5387367791cd",
    ],
)
def test_times_and_ids_stay(text: str) -> None:
    assert logs.mask_phones(text) == text


def test_containers_are_masked_all_the_way_down() -> None:
    given = {"a": ["+34600123000", {"b": ("0034600123000", 34600123000, None)}], "c": b"+34600123000"}
    assert logs.masked(given) == {"a": ["•••", {"b": ["•••", 34600123000, None]}], "c": "•••"}


@pytest.fixture(params=[True, False], ids=["json", "text"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What a configured service writes."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    propagated = {name: logging.getLogger(name).propagate for name in ("uvicorn", "uvicorn.error", "uvicorn.access")}
    logs.configure(json=request.param)
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield stream
    for name, value in propagated.items():
        logging.getLogger(name).propagate = value
    logs.configure(json=True)
    root.handlers[:], root.level = before


def test_events_of_ours_are_masked(lines: io.StringIO) -> None:
    structlog.get_logger().info("receipt.unmatched", note="from +34600123000", message_id=34600123000)
    assert "receipt.unmatched" in lines.getvalue()
    assert "+34600123000" not in lines.getvalue()
    assert "34600123000" in lines.getvalue()  # the id, an int


def test_the_standard_librarys_lines_are_masked(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("cannot send to %s", "+34600123000")
    assert "cannot send to •••" in lines.getvalue()


def test_tracebacks_are_masked_and_show_no_locals(lines: io.StringIO) -> None:
    address = "+34600123000"
    try:
        raise ValueError(f"no route to {address}")
    except ValueError as error:
        structlog.get_logger().exception("callback.failed", error=error)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert lines.getvalue().count("ValueError") >= 2
    assert "600123" not in lines.getvalue()


def test_access_lines_are_off(lines: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info('%s - "%s"', "127.0.0.1", "GET /callbacks/acme?to=%2B34600123000")
    assert lines.getvalue() == ""


def test_json_lines_are_json(lines: io.StringIO, request: pytest.FixtureRequest) -> None:
    structlog.get_logger().info("service.started", workers=2)
    if request.node.callspec.params["lines"]:
        line = orjson.loads(lines.getvalue())
        assert (line["event"], line["level"], line["workers"]) == ("service.started", "info", 2)
