"""The database's states, whatever they are called: what is acknowledged meanwhile is applied when all is well again.

Each state is brought about under load, for a database and a role of its own, and taken back. Callbacks of every kind get
their 2xx, `/readyz` says that the database is away, the API answers 503 where it needs what is not there, and afterwards
everything is applied, the references too, and nothing was set aside.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.db import asyncpg_dsn
from app.embedded import DATABASE, SUPERUSER, EmbeddedPostgres
from app.links.clicks import click, visitor
from app.main import create_app
from app.settings import Settings
from tests.conftest import ADMIN_SECRET

pytestmark = pytest.mark.slow

TOKEN = "token-of-the-gateways"
ROLE = "acuse_of_the_states"
_number = itertools.count(1)
#: How long a state lasts: longer than a commit may take, and than the service looks for it.
LASTS_SECONDS = 2.0
TABLES = "inbox, inbound, click_inbox, receipts, message_state"


@dataclass(frozen=True)
class State:
    """Statements by which it begins and ends; `{db}` and `{role}` stand for the names. `own`: run in the database itself."""

    begin: Sequence[str] = ()
    end: Sequence[str] = ()
    own: bool = False
    #: The service's sessions are ended when it has begun: it finds the door as it is now.
    kill: bool = True
    #: Held open in the database meanwhile.
    held: str | None = None
    #: What the API says to a list of deliveries.
    api: frozenset[int] = frozenset({503})


_CLOSED = ("ALTER DATABASE {db} WITH ALLOW_CONNECTIONS false",)
_OPEN = ("ALTER DATABASE {db} WITH ALLOW_CONNECTIONS true",)
_EITHER = frozenset({200, 503})


def _renamed(table: str, api: frozenset[int] = _EITHER) -> State:
    there, back = f"ALTER TABLE {table} RENAME TO {table}_x", f"ALTER TABLE {table}_x RENAME TO {table}"
    return State((there,), (back,), own=True, kill=False, api=api)


STATES = {
    "lock timeout": State(
        ("ALTER DATABASE {db} SET lock_timeout = '100ms'",), ("ALTER DATABASE {db} RESET lock_timeout",),
        held=f"LOCK TABLE {TABLES} IN ACCESS EXCLUSIVE MODE", api=_EITHER,
    ),
    "locked": State(kill=False, held=f"LOCK TABLE {TABLES} IN ACCESS EXCLUSIVE MODE", api=_EITHER),
    "statement timeout": State(
        ("ALTER DATABASE {db} SET statement_timeout = '1ms'",), ("ALTER DATABASE {db} RESET statement_timeout",),
        api=_EITHER,
    ),
    "closed": State(_CLOSED, _OPEN),
    "no login": State(("ALTER ROLE {role} NOLOGIN",), ("ALTER ROLE {role} LOGIN",)),
    "too many connections": State(("ALTER ROLE {role} CONNECTION LIMIT 0",), ("ALTER ROLE {role} CONNECTION LIMIT -1",)),
    "no rights": State(
        ("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",), ("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",),
        own=True, kill=False,
    ),
    "no right to connect": State(
        ("REVOKE CONNECT ON DATABASE {db} FROM public", "REVOKE CONNECT ON DATABASE {db} FROM {role}"),
        ("GRANT CONNECT ON DATABASE {db} TO public",),
    ),
    "read-only": State(
        ("ALTER DATABASE {db} SET default_transaction_read_only = on",),
        ("ALTER DATABASE {db} RESET default_transaction_read_only",), api=_EITHER,
    ),
    "killed backends": State(api=_EITHER),
    **{f"no {table}": _renamed(table) for table in ("inbox", "inbound", "click_inbox", "receipts", "spool_progress")},
    "no message_state": _renamed("message_state"),
    "no gateways": _renamed("gateways"),
}  # fmt: skip


@dataclass
class Load:
    """Gateways and people who call as long as the block lasts, and what they were told."""

    app: FastAPI
    client: httpx.AsyncClient
    message_id: int
    receipts: set[str] = field(default_factory=set)
    referenced: set[str] = field(default_factory=set)
    replies: set[str] = field(default_factory=set)
    clicks: set[int] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    async def __aenter__(self) -> "Load":
        self._over = False
        callers = (self._generic, self._kannel, self._twilio, self._reply, self._click)
        self._tasks = [asyncio.create_task(self._for_ever(each)) for each in callers]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _for_ever(self, call: object) -> None:
        while not self._over:
            await call(next(_number))  # type: ignore[operator]
            await asyncio.sleep(0.03)

    async def _called(self, method: str, path: str, **more: object) -> bool:
        answer = await self.client.request(
            method, path, headers={"X-Acuse-Token": TOKEN}, timeout=30, **more  # type: ignore[arg-type]
        )  # fmt: skip
        if not answer.is_success:
            self.refused.append(f"{path}: {answer.status_code} {answer.text}")
        return answer.is_success

    async def _generic(self, number: int) -> None:
        body = {"provider_message_id": f"g{number}", "status": "delivered"}
        if await self._called("POST", "/callbacks/generic", json=body):
            self.receipts.add(f"g{number}")

    async def _kannel(self, number: int) -> None:
        if await self._called("GET", f"/callbacks/kannel?type=1&fid=k{number}&ref=kr{number}"):
            self.receipts.add(f"k{number}")
            self.referenced.add(f"kr{number}")

    async def _twilio(self, number: int) -> None:
        form = {"MessageSid": f"SM{number}", "MessageStatus": "delivered"}
        if await self._called("POST", f"/callbacks/twilio?ref=tr{number}", data=form):
            self.receipts.add(f"SM{number}")
            self.referenced.add(f"tr{number}")

    async def _reply(self, number: int) -> None:
        phone = f"+34601{number:06d}"
        body = {"type": "inbound", "from": phone, "text": "STOP"}
        if await self._called("POST", "/callbacks/generic", json=body):
            self.replies.add(phone)

    async def _click(self, number: int) -> None:
        row = click(self.message_id, 1, 0, datetime.now(UTC), visitor("GET", [(b"user-agent", b"phone")]), None)
        done = self.app.state.inbox.offer(row)
        if done is not None:
            await done
            self.clicks.add(row.id)


@dataclass
class Ground:
    """A database of its own, with a role of its own that is nobody's superuser, and the service on it."""

    name: str
    admin: str
    app: FastAPI
    client: httpx.AsyncClient

    @property
    def own(self) -> str:
        return self.admin.replace(f"/{DATABASE}?", f"/{self.name}?")

    async def run(self, statements: Sequence[str], *, own: bool) -> None:
        connection = await asyncpg.connect(self.own if own else self.admin)
        try:
            for statement in statements:
                await connection.execute(statement.format(db=self.name, role=ROLE))
        finally:
            await connection.close()

    async def kill(self) -> None:
        await self.run([f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"], own=False)

    async def value(self, query: str, *values: object) -> object:
        connection = await asyncpg.connect(self.own)
        try:
            return await connection.fetchval(query, *values)
        finally:
            await connection.close()

    async def ready(self) -> dict[str, object]:
        answer = await self.client.get("/readyz")
        assert answer.status_code == 200, answer.text  # callbacks can be taken, one way or the other
        return dict(answer.json())


@contextlib.asynccontextmanager
async def ground(postgres: EmbeddedPostgres, template: str, folder: Path, **more: object) -> AsyncIterator[Ground]:
    admin, name = asyncpg_dsn(postgres.url), f"state_{next(_number)}"
    connection = await asyncpg.connect(admin)
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
        await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await connection.close()
    url = admin.replace(f"/{DATABASE}?", f"/{name}?").replace(f"{SUPERUSER}@", f"{ROLE}@")
    settings = Settings(database_url=url, data_dir=folder, admin_key=SecretStr(ADMIN_SECRET), **more)  # type: ignore[arg-type]
    found = Ground(name, admin, create_app(settings), httpx.AsyncClient())
    try:
        rights = [f"GRANT ALL ON ALL {each} IN SCHEMA public TO {ROLE}" for each in ("TABLES", "SEQUENCES")]
        await found.run(rights, own=True)
        transport = httpx.ASGITransport(app=found.app)
        headers = {"Authorization": f"Bearer {ADMIN_SECRET}"}
        async with (
            found.app.router.lifespan_context(found.app),
            httpx.AsyncClient(transport=transport, base_url="http://acuse.test", headers=headers) as found.client,
        ):
            yield found
    finally:
        connection = await asyncpg.connect(admin)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def set_up(found: Ground) -> int:
    """Three gateways, a delivery and a message of it, whose id it returns."""
    for kind in ("generic", "kannel", "twilio"):
        body = {"key": kind, "kind": kind, "auth": {"mode": "token", "secrets": [TOKEN]}}
        answer = await found.client.post("/v1/gateways", json=body)
        assert answer.status_code == 201, answer.text
    answer = await found.client.post("/v1/deliveries", json={"label": "States", "sender": "Acme", "gateway": "generic"})
    row = {"address": "+34600000001", "provider_message_id": "first"}
    await found.client.post(f"/v1/deliveries/{answer.json()['id']}/messages", json=[row])
    id = await found.value("SELECT max(id) FROM messages")
    assert isinstance(id, int)
    return id


async def until(asked: object, what: str, *, seconds: float = 30) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    while not await asked():  # type: ignore[operator]
        assert datetime.now(UTC) < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", STATES)
async def test_what_is_acknowledged_in_any_state_of_the_database_is_applied_when_all_is_well_again(
    name: str, postgres: EmbeddedPostgres, template: str, tmp_path: Path
) -> None:
    state = STATES[name]
    async with ground(postgres, template, tmp_path) as found:
        load = Load(found.app, found.client, await set_up(found))
        async with load:
            await asyncio.sleep(0.3)
            databases, answers = await _lives_through(found, state)
            await until(lambda: _is_back(found), "the database is back")
            await asyncio.sleep(0.3)
        await until(lambda: _is_applied(found, load), "everything is applied")

        assert load.refused == []
        assert await found.value("SELECT count(*) FROM rejected") == 0
        assert answers <= state.api, answers
        if state.begin or state.held:
            assert False in databases or name in ("no receipts", "no message_state", "no spool_progress"), databases
        assert len(load.receipts) > 20
        assert len(load.clicks) > 10


async def _lives_through(found: Ground, state: State) -> tuple[set[object], set[int]]:
    """What `/readyz` said of the database, and the API's statuses, while the state lasted."""
    databases: set[object] = set()
    answers: set[int] = set()
    await found.run(state.begin, own=state.own)
    if state.kill:
        await found.kill()
    async with contextlib.AsyncExitStack() as stack:
        if state.held:
            holder = await asyncpg.connect(found.own)
            stack.push_async_callback(holder.close)
            await holder.execute("SET lock_timeout = 0; BEGIN")
            await holder.execute(state.held)
        until_ = asyncio.get_running_loop().time() + LASTS_SECONDS
        while asyncio.get_running_loop().time() < until_:
            databases.add((await found.ready())["database"])
            answer = await found.client.get("/v1/deliveries", timeout=30)
            answers.add(answer.status_code)
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) > 0
            await asyncio.sleep(0.1)
    await found.run(state.end, own=state.own)
    return databases, answers


async def _is_back(found: Ground) -> bool:
    said = await found.ready()
    listed = (await found.client.get("/v1/deliveries")).status_code
    return bool(said["database"] and said["spooled"] == 0 and listed == 200)


async def _is_applied(found: Ground, load: Load) -> bool:
    receipts = (
        "SELECT count(DISTINCT c.value) FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
        "WHERE c.value = ANY($1)"
    )
    references = (
        "SELECT count(DISTINCT v.value) FROM correlations c JOIN correlations v ON v.id = c.via WHERE v.value = ANY($1)"
    )
    replies = "SELECT count(DISTINCT d.address) FROM decisions d WHERE d.kind = 'denylist' AND d.address = ANY($1)"
    return (
        await found.value(receipts, list(load.receipts)) == len(load.receipts)
        and await found.value(references, list(load.referenced)) == len(load.referenced)
        and await found.value(replies, list(load.replies)) == len(load.replies)
        and await found.value("SELECT count(*) FROM clicks WHERE id = ANY($1)", list(load.clicks)) == len(load.clicks)
    )


async def test_readiness_ends_when_the_spool_is_full_and_begins_again_with_the_database(
    postgres: EmbeddedPostgres, template: str, tmp_path: Path
) -> None:
    async with ground(postgres, template, tmp_path, spool_max_bytes=1_000_000) as found:
        await set_up(found)
        acknowledged: list[str] = []
        for outage in range(2):
            await found.run(_CLOSED, own=False)
            await found.kill()
            await until(lambda: _is_away(found), "the database is known to be away")
            refused = None
            while refused is None:
                assert len(acknowledged) < 200, "the spool is never full"
                id = f"full{outage}-{len(acknowledged)}"
                body = {"provider_message_id": id, "status": "delivered", "more": "x" * 30_000}
                answer = await found.client.post("/callbacks/generic", json=body, headers={"X-Acuse-Token": TOKEN})
                if answer.status_code == 200:
                    acknowledged.append(id)
                else:
                    refused = answer
            assert (refused.status_code, int(refused.headers["Retry-After"]) > 0) == (503, True)
            said = await found.client.get("/readyz")
            assert (said.status_code, said.json()["ready"], said.json()["spool"]) == (503, False, False)
            assert (await found.client.get("/healthz")).status_code == 200
            await found.run(_OPEN, own=False)
            await until(lambda: _is_ready(found), "it is ready again")
            await until(lambda: _is_back(found), "the spool is brought")
        load = Load(found.app, found.client, 0, receipts=set(acknowledged))
        await until(lambda: _is_applied(found, load), "everything is applied")
        assert not list((tmp_path / "spool").iterdir())


async def _is_away(found: Ground) -> bool:
    return not (await found.ready())["database"]


async def _is_ready(found: Ground) -> bool:
    return (await found.client.get("/readyz")).status_code == 200
