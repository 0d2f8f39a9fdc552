"""`python -m tests.rooms` draws the rooms of app/ and their arrows into docs/architecture.md, out of the imports themselves.

The rows are those of import-linter's contract in pyproject.toml; an arrow is an import from one room into another.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/architecture.md"
_BEGIN, _END = "<!-- rooms: made by `python -m tests.rooms` -->\n", "<!-- end of rooms -->"
#: What nearly all rooms use: arrows to it would hide the others.
GROUND = frozenset(
    {"db", "errors", "logs", "metrics", "settings", "security", "api", "audit", "numbers", "tables", "privacy"}
)


def rows() -> list[list[str]]:
    """The rooms from the door down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (layers,) = [each["layers"] for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    return [row.split(" | ") for row in layers]


def arrows() -> Mapping[str, set[str]]:
    """Room → rooms that it imports."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "app").rglob("*.py")):
        room = path.relative_to(ROOT / "app").with_suffix("").parts[0]
        if room != "__init__":
            found.setdefault(room, set()).update(each for each in _imported(path) if each != room)
    return found


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "app":
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("app."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (each.name.split(".")[1] for each in node.names if each.name.startswith("app."))


def drawing() -> str:
    found = arrows()
    lines = ["```text", *("  ·  ".join(row) for row in rows()), "```", "", "| room | imports |", "| --- | --- |"]
    for row in rows():
        for room in row:
            if above := sorted(found.get(room, set()) - GROUND):
                lines.append(f"| `{room}` | {', '.join(f'`{each}`' for each in above)} |")
    return "\n".join(lines) + "\n"


def drawn(page: str) -> str:
    """`page` with the drawing in its place."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{drawing()}{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text("utf-8")), "utf-8")
