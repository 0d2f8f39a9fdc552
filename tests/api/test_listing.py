"""Every list of the API is one: declared by `paged`, asked by `PageAsked`, answered by `listed`."""

import ast
import csv
import inspect
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.responses import StreamingResponse

from app.api import export, listing
from app.main import create_app
from app.openapi.document import document
from app.settings import Settings
from tests.conftest import Headers

APP = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/none"))
DOCUMENT = document(APP)
#: Few by contract, given whole: what the code knows, links (64 at the most), reasons.
WHOLE = {"/v1/gateway-kinds", "/v1/deliveries/{id}/links", "/v1/deliveries/{id}/exclusions/causes"}
#: No lists, though they are streamed or have items: figures over time, what is handed over to be sent, one number's data.
OTHERS = {"/v1/deliveries/{id}/history", "/v1/deliveries/{id}/outbox", "/v1/addresses/{address}/export"}


def routes() -> Mapping[str, APIRoute]:
    found = [each.original_route for each in iter_route_contexts(APP.router.routes)]
    return {each.path: each for each in found if isinstance(each, APIRoute) and "GET" in (each.methods or ())}


def lists() -> Iterator[str]:
    """The paths whose answer has a cursor or items, is an array, or can be streamed; and those that take a cursor or a limit."""
    for path, item in DOCUMENT["paths"].items():
        operation = item.get("get", {})
        content = operation.get("responses", {}).get("200", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        schema = DOCUMENT["components"]["schemas"].get(name, schema)
        asked = {each["name"] for each in operation.get("parameters", ())}
        if (
            {"items", "next_cursor"} & set(schema.get("properties", {}))
            or schema.get("type") == "array"
            or {"text/csv", "application/x-ndjson"} & set(content)
            or {"cursor", "limit"} & asked
        ):
            yield path


LISTS = sorted(set(lists()) - WHOLE - OTHERS)


def test_what_is_no_list_is_there_and_would_be_taken_for_one() -> None:
    assert set(lists()) >= WHOLE | OTHERS
    assert len(LISTS) >= 18


@pytest.mark.parametrize("path", LISTS)
def test_every_list_is_declared_asked_and_answered_in_the_one_way(path: str) -> None:
    route = routes()[path]
    assert route.responses == export.STREAMS
    assert any(each.call is listing.page_asked for each in route.dependant.dependencies)
    schema = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
    assert set(schema) == {"application/json", "text/csv", "application/x-ndjson"}


@pytest.mark.parametrize("path", sorted(WHOLE))
def test_what_is_given_whole_takes_no_page(path: str) -> None:
    assert not {each.name for each in routes()[path].dependant.query_params} & {"limit", "cursor"}


def test_nobody_else_makes_or_reads_cursors() -> None:
    """So no list can turn its own pages: what a `PageAsked` is good for is only `listed`."""
    root = Path(inspect.getfile(listing)).parent.parent
    users = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and {each.name for each in node.names} & {"cursors_of", "CursorSigner"}
    }
    assert users == {"main.py", "api/listing.py"}  # main.py makes the signer


def test_pages_have_one_shape() -> None:
    shapes: dict[str, Any] = {}
    for path in LISTS:
        name = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        shapes[path] = set(DOCUMENT["components"]["schemas"][name.rpartition("/")[2]]["properties"]) - {"at_least"}
    assert all(shape == {"items", "next_cursor", "total"} for shape in shapes.values()), shapes


def test_what_is_given_out_row_by_row_goes_one_road() -> None:
    """Only what is no rows of ours is streamed elsewhere: events, and lines that are handed over as they are made."""
    root = Path(inspect.getfile(listing)).parent.parent
    users = {
        str(path.relative_to(root)) for path in root.rglob("*.py") if "StreamingResponse(" in path.read_text("utf-8")
    }
    assert users == {"api/export.py", "stats/api.py", "deliveries/sending_api.py", "submissions/links_api.py"}


async def test_a_streamed_document_is_one_object_also_without_rows() -> None:
    async def chunks(*some: list[dict[str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
        for each in some:
            yield each

    async def body(answer: StreamingResponse) -> Any:
        return orjson.loads(b"".join([bytes(piece) async for piece in answer.body_iterator]))  # type: ignore[arg-type]

    def tail() -> dict[str, int]:
        return {"rows": 2}

    assert await body(export.document(chunks([{"a": 1}], [], [{"a": 2}]), {"of": "x"}, tail)) == {
        "of": "x",
        "items": [{"a": 1}, {"a": 2}],
        "rows": 2,
    }
    assert await body(export.document(chunks(), {})) == {"items": []}


@pytest.mark.parametrize("path", sorted(WHOLE | {"/v1/deliveries/{id}/history"}))
def test_what_is_given_whole_is_a_stream_too(path: str) -> None:
    """But the outbox and one number's data: what is to be sent or proven stands there as it is, and cells are defused."""
    assert routes()[path].responses == export.STREAMS


async def test_a_whole_list_as_csv_has_its_fields_as_columns_and_json_in_nested_cells(
    client: httpx.AsyncClient, admin: Headers
) -> None:
    answer = await client.get("/v1/gateway-kinds", headers=admin | {"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    kinds = (await client.get("/v1/gateway-kinds", headers=admin)).json()["items"]
    assert [row["kind"] for row in rows] == [each["kind"] for each in kinds]
    assert [orjson.loads(row["options"]) for row in rows] == [each["options"] for each in kinds]
    made = (await client.post("/v1/deliveries", json={"label": "Sale", "sender": "Acme"}, headers=admin)).json()
    history = f"/v1/deliveries/{made['id']}/history?step=1h"
    table = await client.get(history, headers=admin | {"Accept": "text/csv"})
    points = (await client.get(history, headers=admin)).json()["items"]
    assert [row["at"] for row in csv.DictReader(io.StringIO(table.text))] == [each["at"] for each in points]
    lines = await client.get(f"/v1/deliveries/{made['id']}/links", headers=admin | {"Accept": "application/x-ndjson"})
    assert (lines.status_code, lines.text) == (200, "")
