"""What hangs on `app.state` is read by one accessor each, beside its class: an arrow between rooms is an import."""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parent.parent / "app"
#: Where things are put there.
WIRING = APP / "main.py"
MODULES = sorted(APP.rglob("*.py"))


def readers(source: str) -> list[str]:
    """The functions of a module that read the state of an application (`x.app.state`, `scope["app"].state`); `?` stands for
    what is in none."""
    found: list[str] = []

    def walk(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Attribute) and node.attr == "state" and is_app(node.value):
            found.append(function)
        for child in ast.iter_child_nodes(node):
            walk(child, function)

    walk(ast.parse(source), "?")
    return found


def is_app(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute | ast.Name):
        return (node.attr if isinstance(node, ast.Attribute) else node.id) in ("app", "_app")
    return isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "app"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(APP)))
def test_only_accessors_read_the_state(module: Path) -> None:
    if module != WIRING:
        assert [name for name in readers(module.read_text("utf-8")) if not name.endswith("_of")] == []


def test_each_accessor_stands_once() -> None:
    names = [name for module in MODULES if module != WIRING for name in readers(module.read_text("utf-8"))]
    assert len(names) == len(set(names))
    assert {"directory_of", "inbox_of", "pool_of", "settings_of", "road_of", "visits_of"} <= set(names)


@pytest.mark.parametrize(
    ("source", "by"),
    [
        ("def read(request): return request.app.state.pool", ["read"]),
        ("async def read(scope): return scope['app'].state['pool']", ["read"]),
        ("class A:\n    def read(self): return self._app.state", ["read"]),
        ("POOL = app.state.pool", ["?"]),
        ("def pool_of(request): return request.app.state.pool", ["pool_of"]),
        ("def read(check): return check.state", []),
    ],
)
def test_the_test_sees_them(source: str, by: list[str]) -> None:
    assert readers(source) == by


def test_requests_read_of_one_moment() -> None:
    """Two statements that see different moments disagree now and then: a status without its evidence, a total that is not
    that of its list. So whoever reads for a request does it in a `snapshot`."""
    users = {str(module.relative_to(APP)) for module in MODULES if "engine_of(" in module.read_text("utf-8")}
    assert users == {"db.py", "problems.py"}, "problems.py closes it, and reads nothing"
