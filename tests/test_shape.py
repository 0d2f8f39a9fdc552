"""A file is one topic, and a function one thought: how long they may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

APP = Path(__file__).parents[1] / "app"


def _long_functions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > 40:
                yield f"{path.relative_to(APP)}:{node.lineno} {node.name} has {lines} lines"


def test_functions_have_at_most_40_lines() -> None:
    assert [long for path in sorted(APP.rglob("*.py")) for long in _long_functions(path)] == []


def test_files_have_fewer_than_400_lines() -> None:
    """But for the schema, which stands on one page."""
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in APP.rglob("*.py") if path != APP / "tables.py"}
    assert {str(path.relative_to(APP)): count for path, count in lines.items() if count >= 400} == {}
