"""A Spanish marketer's first file, as Excel writes it there: from upload to start by what the API's own answers say."""

import httpx
import orjson
from fastapi import FastAPI

from tests.conftest import Headers

from .audience import Delivery

#: Two numbers as people write them, one twice, one that is none, and a row that Excel left behind.
ROWS = (
    "600 123 001;José Núñez", "600123002;Begoña", "+34600123001;José otra vez", "12;Íñigo", ";", "600123003;\"Peña; S.L.\"",
)  # fmt: skip
CONTENT = "Hola {{nombre}}, la tienda abre el lunes. BAJA al 25252"


def file(header: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (header, *ROWS)).encode("windows-1252")


async def test_a_file_goes_from_upload_to_start_by_the_messages_of_the_api(
    app: FastAPI, client: httpx.AsyncClient, admin: Headers
) -> None:
    delivery = await Delivery.make(app, client, admin, content=CONTENT)

    # the first try has no column of numbers: the answer says which columns there are, and what to do
    told = (await delivery.post("targets?dry_run=true", file("clave;nombre"), "text/csv")).json()
    assert told["status"] == 400
    assert all(each in told["detail"] for each in ("semicolons", "`clave`", "`nombre`", "?address_column="))

    # the second says what would be read, and which rows preparation will leave out
    answer = await delivery.post("targets?dry_run=true", file("telefono;nombre"), "text/csv")
    reading = answer.json()["reading"]
    assert (answer.json()["accepted"], reading["encoding"], reading["separator"]) == (5, "windows-1252", ";")
    assert reading["columns"] == {"telefono": "address", "nombre": "params.nombre"}
    assert reading["first_rows"][0]["before"] == "600 123 001;José Núñez"
    assert reading["first_rows"][0]["after"] == {"address": "+34600123001", "params": {"nombre": "José Núñez"}}
    assert [(each["code"], each["line"]) for each in reading["findings"]] == [("invalid_address", 5)]
    assert reading["blank_lines"] == 1
    assert (await delivery.get())["targets"] == 0

    # so it is uploaded, prepared and started
    uploaded = (await delivery.post("targets", file("telefono;nombre"), "text/csv")).json()
    assert (uploaded["accepted"], uploaded["rejected"], uploaded["total"]) == (5, 0, 5)
    await delivery.prepare()
    await delivery.books_balance()
    summary = await delivery.get("summary")
    assert summary["excluded_by_reason"] == {"double": 1, "invalid_address": 1}
    started = await delivery.post("start")
    assert (started.status_code, started.json()["status"]) == (200, "in_progress")
    outbox = await client.get(f"{delivery.url}/outbox", headers=admin)
    texts = [orjson.loads(line)["text"] for line in outbox.content.splitlines()]
    assert [text.partition(",")[0] for text in texts] == ["Hola José Núñez", "Hola Begoña", "Hola Peña; S.L."]
