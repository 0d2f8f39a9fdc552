"""The words for people are true of the code: nothing undocumented, nothing that leads nowhere."""

import asyncio
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import typer

from app import cli, metrics
from app.gateways import GATEWAYS
from app.main import create_app
from app.security import SCOPES
from app.settings import Settings
from tests.conftest import ADMIN_SECRET, SLOW

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
API = (ROOT / "docs" / "api.md").read_text("utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "app" / "gateways" / "README.md", *(ROOT / "docs").rglob("*.md")])
#: Whose `curl` lines are to be pasted, in this order.
TUTORIALS = [ROOT / "README.md", ROOT / "docs" / "sending.md", *sorted((ROOT / "docs" / "gateways").glob("*.md"))]
ADMIN = {"Authorization": f"Bearer {ADMIN_SECRET}"}
_AUDIT_CODE = re.compile(r'"([A-Z]{3}-[A-Z]+(?:-[A-Z]+)*)"')


# --- nothing undocumented --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    (row,) = re.findall(rf"^\| `ACUSE_{name.upper()}` \| (.+?) \| (.+?) \| (.+) \|$", SETTINGS, re.MULTILINE)
    assert row[1] == _written(Settings.model_fields[name].default)
    assert len(row[2]) > 20


def _written(default: Any) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_no_setting_is_documented_that_does_not_exist() -> None:
    for page in PAGES:
        for name in re.findall(r"\bACUSE_([A-Z_]+)", page.read_text("utf-8")):
            assert name.lower() in Settings.model_fields, f"{page.name}: ACUSE_{name}"


def test_every_command_is_documented() -> None:
    commands = set(_commands(typer.main.get_command(cli.app), "acuse"))
    assert commands == {
        name
        for row in re.findall(r"^\| (`acuse.+?) \|", OPERATING, re.MULTILINE)
        for name in re.findall(r"`(acuse [a-z -]+)`", row)
    }


def _commands(command: Any, name: str) -> list[str]:
    children = getattr(command, "commands", None)
    if not children:
        return [name]
    return [path for child, each in children.items() for path in _commands(each, f"{name} {child}")]


def test_every_kind_of_gateway_is_documented() -> None:
    kinds = set(
        re.findall(
            r"^\| `([a-z0-9_]+)` \|", API.split("## Gateways and their kinds")[1].split("\n## ")[0], re.MULTILINE
        )
    )
    assert kinds == {kind for kind in GATEWAYS if GATEWAYS[kind].options.__module__.startswith("app.")}


def test_every_audit_code_is_documented() -> None:
    used = {code for file in (ROOT / "app").rglob("*.py") for code in _AUDIT_CODE.findall(file.read_text("utf-8"))}
    assert used == set(re.findall(r"`([A-Z]{3}-[A-Z-]+)`", API.split("## Journals")[1]))


def test_every_scope_is_documented() -> None:
    assert all(f"`{scope}`" in API for scope in SCOPES)


def test_metrics_that_pages_name_exist() -> None:
    exposed = {metric.name for metric in metrics.registry.collect()}
    for page in PAGES:
        if page.name != "CHANGELOG.md":  # which names what was renamed, too
            named = re.findall(r"`(acuse_[a-z_]+)`", page.read_text("utf-8"))
            assert {name.removesuffix("_total") for name in named} <= exposed, page.name


def test_the_readme_is_the_first_five_minutes_and_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 130
    leads = set(re.findall(r"\]\(([^)#]+)", README))
    pages = {str(page.relative_to(ROOT)) for page in PAGES} - {"README.md"}
    indices = ("docs/decisions/", "docs/gateways/")  # these lead to their own
    assert {page for page in pages if not page.startswith(indices)} <= leads


def test_every_decision_stands_in_the_index() -> None:
    index = (ROOT / "docs" / "decisions.md").read_text("utf-8")
    pages = {f"decisions/{page.name}" for page in (ROOT / "docs" / "decisions").glob("*.md")}
    assert pages == set(re.findall(r"\((decisions/[^)]+)\)", index))


def test_the_changelog_begins_with_what_is_not_released() -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    current = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert titles[0].startswith("Unreleased")
    assert titles[1].split()[0] == current


def test_contributing_names_every_target_of_make_that_a_change_may_need() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z0-9-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert named <= targets
    assert targets - named <= {"run", "demo", "lock", "help"}


def test_folders_that_make_quick_leaves_out_exist() -> None:
    assert [folder for folder in SLOW if not (ROOT / folder).is_dir()] == []


# --- nothing that leads nowhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            text = (page.parent / target if target else page).read_text("utf-8")
            assert anchor in {_anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}, anchor


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_files_named_in_backticks_exist() -> None:
    for page in PAGES:
        for path in re.findall(r"`((?:app|tests|docs|migrations)/[\w/.-]+)`", page.read_text("utf-8")):
            if "KIND" not in path:
                assert (ROOT / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_json_examples_are_json(page: Path) -> None:
    for block in re.findall(r"```json\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        orjson.loads(block)


def _curls() -> list[list[str]]:
    text = "".join(page.read_text("utf-8") for page in TUTORIALS)
    blocks = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    return [shlex.split(line) for line in blocks.splitlines() if line.startswith("curl ")]


@pytest.mark.parametrize("words", _curls(), ids=lambda words: next(each for each in words if each.startswith("$ACUSE")))
def test_curl_lines_call_what_exists_with_json_that_is_json(words: list[str]) -> None:
    url = next(word for word in words if word.startswith("$ACUSE")).removeprefix("$ACUSE").replace("$ID", "1")
    url = url.partition("?")[0]
    data = words[words.index("-d") + 1] if "-d" in words else None
    if data is not None:
        orjson.loads(data)
    paths = _paths()
    operations = [methods for path, methods in paths.items() if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), url)]
    assert any(("post" if data is not None or "-X" in words else "get") in methods for methods in operations), url


@cache
def _paths() -> dict[str, Any]:
    app = create_app(Settings(database_url="postgresql://nobody@127.0.0.1:9/nothing"))
    paths: dict[str, Any] = app.openapi()["paths"]
    return paths


async def test_the_tutorials_work_when_pasted(client: httpx.AsyncClient) -> None:
    """All its curl lines, in their order; then the summaries say what the callback and the preparation said."""
    deliveries: list[str] = []
    for words in _curls():
        response = await _called(client, words, deliveries[-1] if deliveries else "1")
        assert response.is_success, response.text
        if words[-1].startswith('{"label"'):
            deliveries.append(response.json()["id"])
    elsewhere, here = deliveries
    for _ in range(100):
        summary = (await client.get(f"/v1/deliveries/{elsewhere}/summary", headers=ADMIN)).json()
        if summary["processed"] == 2:
            break
        await asyncio.sleep(0.1)
    assert (summary["success"], summary["errors"], summary["by_reason"]) == (1, 1, {"unreachable": 1})
    prepared = (await client.get(f"/v1/deliveries/{here}/summary", headers=ADMIN)).json()
    assert (prepared["targeted"], prepared["to_send"], prepared["excluded_by_reason"]) == (3, 2, {"double": 1})


async def _called(client: httpx.AsyncClient, words: list[str], delivery: str) -> httpx.Response:
    url = next(word for word in words if word.startswith("$ACUSE")).removeprefix("$ACUSE").replace("$ID", delivery)
    given = [words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H"]
    headers = {name: value.replace("$KEY", ADMIN_SECRET) for name, value in given}
    if "-d" not in words:
        return await client.request("POST" if "-X" in words else "GET", url, headers=headers)
    return await client.post(url, headers=headers, content=words[words.index("-d") + 1])
