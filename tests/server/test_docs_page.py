"""`/docs` comes from here alone: no other host is named, and the browser is told to ask none."""

import re

import httpx
import pytest
from fastapi import FastAPI


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/docs", "text/html"), ("/docs/page.css", "text/css"), ("/docs/page.js", "text/javascript")],
)
async def test_the_page_and_its_parts_name_no_other_host(client: httpx.AsyncClient, path: str, media_type: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"https?:|(?<!:)//[\w-]+\.", response.text)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_the_page_has_no_script_or_style_of_its_own_and_its_parts_exist(client: httpx.AsyncClient) -> None:
    text = (await client.get("/docs")).text
    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", text)
    parts = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert {"docs/page.js", "docs/page.css", "openapi.json"} <= set(parts)
    for part in parts:
        if not part.startswith("data:"):
            assert (await client.get(f"/{part}")).status_code == 200, part


async def test_the_page_is_no_part_of_the_document(app: FastAPI) -> None:
    assert not [path for path in app.openapi()["paths"] if path.startswith("/docs")]
