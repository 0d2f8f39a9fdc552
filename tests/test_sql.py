"""SQL has two spellings: named statements in `.sql` files beside their modules, and SQLAlchemy Core for what varies."""

import ast
import contextlib
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.db import Pool, load_queries
from app.locks import Lock
from app.messages.states import Status

APP = Path(__file__).parents[1] / "app"
SQL_FILES = sorted(APP.rglob("*.sql"))
STATEMENTS = [file for file in SQL_FILES if file.name != "fragments.sql"]
MODULES = [module for module in sorted(APP.rglob("*.py")) if module.name != "__main__.py"]

#: What Python may say in SQL by itself, and why.
ALLOWED = {
    "SET LOCAL ": "a setting of one transaction, beside what it is for",
    "SET lock_timeout": "settings of the session that migrates",
    "SET statement_timeout": "settings of the session that migrates",
    "SELECT clock_timestamp()": "the time by the database, asked in one place",
    "SELECT count(*) FROM spool": "SQLite's, in a file of the process, read by `acuse doctor`",
    "SELECT pg_try_advisory_lock(:key)": "the lock of migrations, before there is a schema",
}
#: Modules that speak SQL of something else, and why.
OTHERS = {
    "embedded": "makes the database that everything else is in; names cannot be parameters",
    "ingest/spool.py": "SQLite's, in a file of the process",
    "addresses/disks.py": "SQLite's, in a file of the process",
    "links/kept.py": "SQLite's, in a file of the process",
}
#: What a statement's name begins with: what it does.
_VERBS = """
add begin cancel claim close compare copy count create decide delete dequeue discard disguise enqueue expire fail find finish
follow forget has hold keep label link list lock mark meet mend merge move note open put record refold refresh release rename
reopen reserve rewrite scan set settle start take touch trim unlock update"""
VERBS = frozenset(re.findall(r"\w+", _VERBS))
_BEGINS = re.compile(
    r"\s*\(?\s*(SELECT|INSERT|UPDATE|DELETE|WITH|SET|COPY|LOCK|CREATE|DROP|ALTER|EXISTS|NOT EXISTS|AND|OR|FROM|"
    r"WHERE|LEFT JOIN|JOIN|GROUP BY|ORDER BY|ON CONFLICT|FOR UPDATE|RETURNING|pg_\w+\(|coalesce\(|count\()\b"
)


def strings(module: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each string, docstrings left out; what varies in an f-string is an ellipsis."""
    tree = ast.parse(module.read_text("utf-8"))
    passed = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            passed |= {id(each) for each in node.values}
            yield (
                node.lineno,
                "".join(str(each.value) if isinstance(each, ast.Constant) else "…" for each in node.values),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in passed:
            yield node.lineno, node.value


def statements(file: Path) -> Mapping[str, str]:
    return load_queries(str(file), file.name)


def names_in(file: Path) -> list[str]:
    return re.findall(r"^-- name: (\S+)$", file.read_text("utf-8"), flags=re.MULTILINE)


def fragments_in(file: Path) -> set[str]:
    """What is put into others, and stands alone nowhere."""
    starts = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|LOCK)\b")
    return {name for name, text in statements(file).items() if not starts.match(text)}


def files_of(node: ast.expr, module: Any) -> list[Path]:
    """The files of which the mapping `node` holds the statements; none when it is something else."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return []
    with contextlib.suppress(Exception):
        found = eval(ast.unparse(node), vars(module))
        if isinstance(found, Mapping) and found:
            return [file for file in STATEMENTS if statements(file).items() <= found.items()]
    return []


def keys_of(node: ast.expr, known: Mapping[str, Path], module: Path) -> set[str]:
    """The names that `node` can be: of one that varies, those that the room's modules say."""
    if isinstance(node, ast.Constant):
        return {str(node.value)}
    if isinstance(node, ast.IfExp):
        return keys_of(node.body, known, module) | keys_of(node.orelse, known, module)
    if isinstance(node, ast.JoinedStr):
        parts = (re.escape(str(each.value)) if isinstance(each, ast.Constant) else r"\w+" for each in node.values)
        pattern = re.compile("".join(parts))
        return {name for name in known if pattern.fullmatch(name)}
    said = {text for each in module.parent.glob("*.py") for _, text in strings(each)}
    return said & known.keys()


def test_python_says_nothing_in_sql_but_what_is_listed() -> None:
    found = [
        f"{module.relative_to(APP)}:{line}: {text.strip()[:60]}"
        for module in MODULES
        if not str(module.relative_to(APP)).startswith(tuple(OTHERS))
        for line, text in strings(module)
        if _BEGINS.match(text) and " " in text.strip() and not text.startswith(tuple(ALLOWED))
    ]
    assert not found, "\n".join(found)


def test_names_of_statements_say_what_they_do_and_to_what() -> None:
    wrong = [
        f"{file.relative_to(APP)}: {name}"
        for file in STATEMENTS
        for name in names_in(file)
        if name not in fragments_in(file) and (name.partition("_")[0] not in VERBS or not name.partition("_")[2])
    ]
    assert not wrong, wrong


def test_no_name_stands_twice_in_a_file_or_hides_what_all_share() -> None:
    shared = names_in(APP / "fragments.sql")
    for file in STATEMENTS:
        names = names_in(file)
        assert len(names) == len(set(names)), file
        assert not {*names} & {*shared, *Lock.__members__}, file


def test_every_statement_is_used_and_every_name_that_is_used_exists() -> None:
    used = {(file, name) for file in STATEMENTS for name in re.findall(r"\{(\w+)\}", file.read_text("utf-8"))}
    for path in MODULES:
        module = importlib.import_module(".".join(path.relative_to(APP.parent).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Subscript) and (files := files_of(node.value, module)):
                known = {name: file for file in files for name in names_in(file)}
                asked = keys_of(node.slice, known, path)
                assert asked, f"{path}:{node.lineno}: {ast.unparse(node)}"
                assert asked <= known.keys(), f"{path}:{node.lineno}: {ast.unparse(node)}"
                used |= {(known[name], name) for name in asked}
    unused = {
        f"{file.relative_to(APP)}: {name}" for file in STATEMENTS for name in names_in(file) if (file, name) not in used
    }
    assert not unused, unused


def test_every_fragment_that_is_shared_is_used() -> None:
    text = "".join(file.read_text("utf-8") for file in SQL_FILES)
    for name in [*names_in(APP / "fragments.sql"), *Lock.__members__]:
        assert f"{{{name}}}" in text, name


def test_what_a_statement_leaves_open_is_filled_by_its_room() -> None:
    for file in STATEMENTS:
        given = {
            word.arg
            for module in file.parent.glob("*.py")
            for node in ast.walk(ast.parse(module.read_text("utf-8")))
            if isinstance(node, ast.Call)
            for word in node.keywords
        }
        for name, text in statements(file).items():
            assert set(re.findall(r"\{(\w+)\}", text)) <= given, f"{file}: {name}"


def test_locks_are_called_by_their_names() -> None:
    for file in SQL_FILES:
        for line in re.findall(r".*advisory.*", re.sub(r"(?m)^--.*$", "", file.read_text("utf-8"))):
            assert re.search(rf"advisory\w*lock\(\{{({'|'.join(Lock.__members__)})\}}, ", line), f"{file}: {line}"


def test_what_several_statuses_have_in_common_is_said_once() -> None:
    shared = load_queries(str(APP / "db.py"), "fragments.sql")
    words = {name: frozenset(re.findall(r"'(\w+)'", shared[name])) for name in ("final", "in_transit", "not_come")}
    assert all(each.upper() in Status.__members__ for group in words.values() for each in group)
    for file in STATEMENTS:
        for listed in re.findall(r"\(('\w+'(?:, '\w+')+)\)", file.read_text("utf-8")):
            assert frozenset(re.findall(r"\w+", listed)) not in words.values(), f"{file}: {listed}"


@pytest.mark.parametrize("file", STATEMENTS, ids=lambda file: str(file.relative_to(APP)))
async def test_postgresql_understands_every_statement(pool: Pool, file: Path) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for needed in (
            "ingest/inbox.sql open_receipt",
            "ingest/inbox.sql open_reply",
            "ingest/inbox.sql open_click",
            "messages/queries.sql create_former",
        ):
            path, _, name = needed.partition(" ")
            await connection.execute(load_queries(str(APP / path), Path(path).name)[name])
        for name, text in statements(file).items():
            if name not in fragments_in(file) and not re.search(r"\{\w+\}|(?<![:\w]):[a-z]|;", text):
                await connection.prepare(text)
