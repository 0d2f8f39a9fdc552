"""What the failure tests stand on: a PostgreSQL to kill, the service as a process of its own, gateways that call it
under load, and a ledger of what was sent and acknowledged, from which the truth is told without asking the service.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
import httpx
import orjson
import psutil

from app import embedded
from app.embedded import EmbeddedPostgres, postmaster

ROOT = Path(__file__).parents[2]
#: Where the services' compiled modules are kept between starts; none: nowhere, and a start takes seconds longer.
compiled: Path | None = None
COMMAND: Sequence[str] = (sys.executable, "-m", "app.cli", "run")
ADMIN_KEY = "chaos-admin-key-0123456789"
TOKEN = "chaos-token-0123456789"
GATEWAY = "chaos"
#: Everything that is waited for comes within this, or the test fails.
PATIENCE_SECONDS = 60.0
#: No gateway waits longer for its answer.
CLIENT_TIMEOUT_SECONDS = 15.0
#: Below the kernel's range for outgoing connections: a client that tries again and again while the service is down
#: must not end up connected to itself on the very port that the service wants back.
_PORTS = range(20_000, 32_000)


def say(text: str) -> None:
    """A figure for people: shown by `pytest -s`, and beside a failure."""
    sys.stdout.write(f"\nchaos: {text}")


async def until(reached: Callable[[], Awaitable[Any]], what: str, *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Asks until the answer is true, and gives it back; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := await reached()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        await asyncio.sleep(0.05)
    return answer


def free_port() -> int:
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A throw-away data directory with a short path that an embedded server's own user can pass through."""
    with tempfile.TemporaryDirectory(prefix="acuse-chaos-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o711)
        yield Path(name)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


class Postgres:
    """A server of the test's own. Written data outlives `kill`: the files stay, and nobody cuts the power."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def dsn(self) -> str:
        return self._server.dsn

    def kill(self) -> None:
        """SIGKILL to the postmaster and all its children; returns when none of them lives."""
        family = self._frozen()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(map(_is_living, family)):
            assert time.monotonic() < deadline, "PostgreSQL does not die"
            time.sleep(0.01)

    def back(self) -> None:
        """Starts it again on the same data; returns when it takes connections."""
        assert self._server.ensure_running(), "PostgreSQL was there all the time"

    @contextlib.contextmanager
    def hung(self) -> Iterator[None]:
        """As long as this lasts, nothing of the server moves; its sockets still take connections."""
        family = self._frozen()
        try:
            yield
        finally:
            for process in reversed(family):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def _frozen(self) -> list[psutil.Process]:
        """The postmaster, which must not make any more children, then its children, all stopped."""
        postmaster = psutil.Process(self._server.pid)
        postmaster.suspend()
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        return family


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    bin_dir = os.environ.get("ACUSE_TEST_POSTGRES_BIN")
    with embedded.temporary({"fsync": "off"}, bin_dir=Path(bin_dir) if bin_dir else None) as server:
        yield Postgres(server)


def _is_living(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- the service -----------------------------------------------------------------------------------------------------


class Service:
    """`acuse run`, in a process group of its own, on a port and a data directory that stay the same over restarts."""

    def __init__(self, data_dir: Path, database_url: str | None, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.starts = 0
        self._log_path = data_dir.with_name(data_dir.name + ".log")
        self._settings = {
            "ACUSE_DATA_DIR": str(data_dir),
            "ACUSE_HOST": "127.0.0.1",
            "ACUSE_PORT": str(self.port),
            "ACUSE_ADMIN_KEY": ADMIN_KEY,
            **({"ACUSE_DATABASE_URL": database_url} if database_url else {}),
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.api = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=CLIENT_TIMEOUT_SECONDS,
            trust_env=False,
            verify=False,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text("utf-8", "replace") if self._log_path.exists() else ""

    def start(self) -> None:
        """Returns at once; `ready` and `alive` wait."""
        assert self._process is None
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(COMMAND), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                env=_environment() | self._settings, start_new_session=True,
            )  # fmt: skip
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL to the whole process group. An embedded PostgreSQL has a group of its own, and goes on."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None

    def stop(self) -> None:
        """As an operator would; with SIGKILL for what does not end by itself."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            say("the service did not end by itself within 20 s")
        self.kill()

    async def ready(self) -> None:
        """Returns when `/readyz` says so."""
        await until(lambda: self._says("/readyz"), "/readyz of the service")

    async def alive(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Returns when `/healthz` says so, database or not."""
        await until(lambda: self._says("/healthz"), "/healthz of the service", seconds=seconds)

    async def _says(self, path: str) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended by itself; its log ends:\n{self.log[-3000:]}"
        try:
            return (await self.api.get(path, timeout=5)).status_code == 200
        except httpx.TransportError:
            return False

    async def get(self, path: str) -> Any:
        """The JSON of a 200."""
        return _good(await self.api.get(path), 200)

    async def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        return _good(await self.api.post(path, json=body), status)


def _environment() -> dict[str, str]:
    """Ours without settings of Acuse, and with compiled modules."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("ACUSE_")}
    if compiled is not None:
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        found["PYTHONPYCACHEPREFIX"] = str(compiled)
    return found


@contextlib.asynccontextmanager
async def service(database_url: str | None, **settings: str) -> AsyncIterator[Service]:
    """A service that is ready. At its end it is gone, and so is an embedded server that it left behind."""
    with folder() as data_dir:
        found = Service(data_dir / "data", database_url, settings)
        try:
            found.start()
            await found.ready()
            yield found
        finally:
            await asyncio.to_thread(found.stop)
            await found.api.aclose()
            say(f"the service's log ends:\n{found.log[-4000:]}")
            left_over = postmaster.find(found.data_dir / "postgres")
            if left_over is not None:
                left_over.send_signal(signal.SIGQUIT)
                left_over.wait(10)


def _good(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, f"{response.request.url}: {response.status_code} {response.text[:500]}"
    return response.json()


# --- what is sent, and what is known of it ---------------------------------------------------------------------------

#: Their words, how often they come, and what each is evidence of (None: a word that nobody knows).
WORDS: Mapping[str, tuple[int, str | None]] = {
    "accepted": (5, "accepted"),
    "enroute": (50, "sent"),
    "undelivered": (15, "failed"),
    "delivered": (25, "received"),
    "parked": (5, None),
}
_RANKS = ("accepted", "sent", "failed", "received")


@dataclass(frozen=True, slots=True)
class Told:
    """One receipt as a gateway tells it. `mark` stands in its body, and in no other's."""

    mark: str
    provider_message_id: str
    word: str

    @property
    def body(self) -> bytes:
        failure = {"error_code": "069"} if self.word == "undelivered" else {}
        # The mark is in the time as well: two receipts are never taken for repeats of each other by accident.
        at = datetime.fromtimestamp(1_750_000_000 + int(self.mark[1:]), UTC).isoformat()
        told = {"provider_message_id": self.provider_message_id, "status": self.word, "occurred_at": at, **failure}
        return orjson.dumps({**told, "mark": self.mark})


@dataclass
class Ledger:
    """Ids of three kinds: `known` ones belong to a message from the start, `late` ones will, `foreign` ones never do."""

    known: list[str]
    late: list[str]
    foreign: list[str]
    delivery_id: str = ""
    told: dict[str, Told] = field(default_factory=dict)
    #: Marks of those that got a 2xx at least once.
    acknowledged: set[str] = field(default_factory=set)
    #: How often each was sent, whatever became of it.
    sendings: Counter[str] = field(default_factory=Counter)
    #: Answers by status; "none": the connection broke, or nobody took it.
    answers: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, random: random.Random) -> Told:
        ids = random.choices([self.known, self.late, self.foreign], [80, 15, 5])[0]
        word = random.choices(list(WORDS), [weight for weight, _ in WORDS.values()])[0]
        return self.add(random.choice(ids), word)

    def add(self, provider_message_id: str, word: str) -> Told:
        told = Told(f"m{next(self._numbers)}", provider_message_id, word)
        self.told[told.mark] = told
        return told

    def again(self, random: random.Random) -> Told | None:
        """One of the last that were sent, to be sent once more on purpose."""
        number = random.randint(max(len(self.told) - 500, 1), max(len(self.told), 1))
        return self.told.get(f"m{number}")

    @property
    def refused(self) -> dict[str, int]:
        """What was answered otherwise than with a 2xx."""
        return {status: count for status, count in self.answers.items() if not status.startswith("2")}

    def statuses(self, marks: Sequence[str]) -> dict[str, str]:
        """What the status of each message must be, by provider id, if exactly these receipts are facts."""
        heard: dict[str, str] = dict.fromkeys([*self.known, *self.late], "accepted")
        for told in map(self.told.__getitem__, marks):
            evidence = WORDS[told.word][1]
            if evidence is not None and told.provider_message_id in heard:
                heard[told.provider_message_id] = max(heard[told.provider_message_id], evidence, key=_RANKS.index)
        return heard

    def contradictory(self, marks: Sequence[str]) -> int:
        """Messages of which both is told: received, and failed."""
        heard: dict[str, set[str | None]] = defaultdict(set)
        for told in map(self.told.__getitem__, marks):
            heard[told.provider_message_id].add(WORDS[told.word][1])
        return sum(heard[id] >= {"failed", "received"} for id in (*self.known, *self.late) if id in heard)


async def record(service: Service, ledger: Ledger, ids: Sequence[str], *, first_number: int) -> None:
    """Messages that were sent elsewhere, one an id."""
    rows = (
        orjson.dumps({"address": f"+346{first_number + place:08d}", "provider_message_id": id})
        for place, id in enumerate(ids)
    )
    response = await service.api.post(
        f"/v1/deliveries/{ledger.delivery_id}/messages",
        content=b"\n".join(rows),
        headers={"Content-Type": "application/x-ndjson"},
        timeout=PATIENCE_SECONDS,
    )
    told = _good(response, 200)
    assert (told["accepted"], told["rejected"], told["errors"]) == (len(ids), 0, [])


async def set_up(service: Service, *, messages: int = 2_000) -> Ledger:
    """A gateway, a delivery and its messages. Of every ten ids eight are known now and two later."""
    ledger = Ledger(
        known=[f"k{number}" for number in range(messages * 8 // 10)],
        late=[f"l{number}" for number in range(messages * 2 // 10)],
        foreign=[f"f{number}" for number in range(20)],
    )
    await service.post(
        "/v1/gateways",
        {"key": GATEWAY, "kind": "generic", "auth": {"mode": "token", "secrets": [TOKEN]}},
        status=201,
    )
    delivery = await service.post(
        "/v1/deliveries", {"label": "Chaos", "sender": "Acuse", "gateway": GATEWAY}, status=201
    )
    ledger.delivery_id = delivery["id"]
    await record(service, ledger, ledger.known, first_number=10_000_000)
    return ledger


async def record_late(service: Service, ledger: Ledger) -> None:
    """The submissions that receipts have been waiting for."""
    await record(service, ledger, ledger.late, first_number=20_000_000)


# --- load ------------------------------------------------------------------------------------------------------------


class Line:
    """One keep-alive connection of a gateway, as thin as can be: the load must not cost more than what it loads."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes, *, path: str = f"/callbacks/{GATEWAY}") -> tuple[int, dict[str, str]]:
        """Status and headers of the answer. Raises `OSError` or `TimeoutError` when none comes."""
        try:
            return await asyncio.wait_for(self._post(body, path), CLIENT_TIMEOUT_SECONDS)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise ConnectionError("no answer") from error

    async def _post(self, body: bytes, path: str) -> tuple[int, dict[str, str]]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"X-Acuse-Token: {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return int(lines[0].split()[1]), headers

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 5)


class Load:
    """Gateways that call as long as the block lasts; leaving it waits for the answers that are still to come."""

    def __init__(
        self, service: Service, ledger: Ledger, *, connections: int = 16, pause_seconds: float = 0.01, seed: int = 0
    ) -> None:
        self._port = service.port
        self._ledger = ledger
        self._connections = connections
        self._pause_seconds = pause_seconds
        self._random = random.Random(seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._over = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._call_for_ever()) for _ in range(self._connections)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def goes_on(self, receipts: int = 1) -> None:
        """Returns when so many more have been acknowledged."""
        wanted = len(self._ledger.acknowledged) + receipts

        async def reached() -> bool:
            return len(self._ledger.acknowledged) >= wanted

        await until(reached, f"{receipts} more acknowledgements; so far {dict(self._ledger.answers)}")

    async def _call_for_ever(self) -> None:
        line = Line(self._port)
        try:
            while not self._over:
                repeat = self._ledger.again(self._random) if self._random.random() < 0.1 else None
                await self._tell(line, repeat or self._ledger.new(self._random))
                await asyncio.sleep(self._pause_seconds * self._random.uniform(0.5, 1.5))
        finally:
            await line.close()

    async def _tell(self, line: Line, told: Told) -> None:
        """Some gateways send again what got no answer, some do not."""
        while await tell(line, self._ledger, told) is None and not self._over:
            await asyncio.sleep(0.1)
            if self._random.random() < 0.5:
                return


async def tell(line: Line, ledger: Ledger, told: Told) -> tuple[int, dict[str, str]] | None:
    """Sends it and writes down what came of it; None when there was no answer."""
    ledger.sendings[told.mark] += 1
    began = time.monotonic()
    try:
        status, headers = await line.post(told.body)
    except ConnectionError:
        ledger.answers["none"] += 1
        return None
    ledger.answers[str(status)] += 1
    ledger.slowest_seconds = max(ledger.slowest_seconds, time.monotonic() - began)
    if 200 <= status < 300:
        ledger.acknowledged.add(told.mark)
    return status, headers


# --- the truth afterwards --------------------------------------------------------------------------------------------


async def fetch(dsn: str, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(dsn, timeout=PATIENCE_SECONDS)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


async def marks(dsn: str) -> Counter[str]:
    """How often each receipt stands among the facts."""
    rows = await fetch(
        dsn, "SELECT convert_from(raw, 'UTF8')::jsonb ->> 'mark' AS mark, count(*) AS n FROM receipts GROUP BY 1"
    )
    return Counter({row["mark"]: row["n"] for row in rows})


async def settled(service: Service, dsn: str, ledger: Ledger) -> Counter[str]:
    """Waits until spool and inbox are empty, and everything that was acknowledged is a fact."""

    async def empty() -> bool:
        (row,) = await fetch(dsn, "SELECT count(*) AS n FROM inbox")
        return bool(row["n"] == 0 and (await service.get("/readyz"))["spooled"] == 0)

    async def complete() -> bool:
        return await empty() and ledger.acknowledged <= (await marks(dsn)).keys()

    try:
        await until(complete, "all acknowledged receipts become facts")
    except AssertionError:
        found = await marks(dsn)
        lost = sorted(ledger.acknowledged - found.keys(), key=lambda mark: int(mark[1:]))
        waiting = (await fetch(dsn, "SELECT count(*) AS n FROM inbox"))[0]["n"]
        said = await service.get("/readyz")
        raise AssertionError(
            f"of {len(ledger.acknowledged)} acknowledged receipts {len(lost)} are not among the facts, such as "
            f"{lost[:5]}; {waiting} wait in the inbox; /readyz: {said}; the log ends:\n{service.log[-3000:]}"
        ) from None
    return await marks(dsn)


async def books_balance(service: Service, dsn: str, ledger: Ledger) -> Counter[str]:
    """After `record_late`: everything acknowledged is there, every effect exactly once. Returns how often each is there."""
    found = await settled(service, dsn, ledger)
    assert found.keys() <= ledger.told.keys(), "a receipt that nobody sent"
    assert await fetch(dsn, "SELECT * FROM rejected") == []
    await _statuses_are_true(dsn, ledger, list(found))
    await _counters_are_true(service, dsn, ledger, list(found))
    told_foreign = {ledger.told[mark].provider_message_id for mark in found} & set(ledger.foreign)
    assert (await service.get("/v1/receipts/unmatched"))["total"] == len(told_foreign)
    assert (await service.post(f"/v1/deliveries/{ledger.delivery_id}/recompute"))["drift"] == 0
    (firsts,) = await fetch(dsn, "SELECT count(*) AS n FROM audit WHERE code = 'DLV-FIRST-RECEIPT'")
    assert firsts["n"] == 1
    return found


async def _statuses_are_true(dsn: str, ledger: Ledger, found: Sequence[str]) -> None:
    rows = await fetch(
        dsn,
        "SELECT c.raw AS id, s.status::text AS status FROM message_state s "
        "JOIN correlations c ON c.message_id = s.message_id WHERE c.kind = 'id'",
    )
    assert {row["id"]: row["status"] for row in rows} == ledger.statuses(found)


async def _counters_are_true(service: Service, dsn: str, ledger: Ledger, found: Sequence[str]) -> None:
    statuses = Counter(ledger.statuses(found).values())
    summary = await service.get(f"/v1/deliveries/{ledger.delivery_id}/summary")
    assert {status: count for status, count in summary["by_status"].items() if count} == dict(statuses)
    assert summary["success"] == statuses["received"]
    assert summary["contradictory"] == ledger.contradictory(found)
    messages = {*ledger.known, *ledger.late}
    unknown = [told for told in map(ledger.told.__getitem__, found) if WORDS[told.word][1] is None]
    assert summary["unknown_receipts"] == sum(told.provider_message_id in messages for told in unknown)
    states = await fetch(dsn, "SELECT status::text AS status, count(*) AS n FROM message_state GROUP BY 1")
    assert {row["status"]: row["n"] for row in states} == dict(statuses)
    (booked,) = await fetch(
        dsn,
        "SELECT (SELECT sum(value) FROM counters WHERE delivery_id = 0 AND metric = 'receipts') AS counted, "
        "(SELECT count(*) FROM receipts) AS facts",
    )
    assert booked["counted"] == booked["facts"]


def spool_rows(data_dir: Path) -> int:
    """What lies in the service's spools, read from their files."""
    rows = 0
    for path in (data_dir / "spool").glob("*.sqlite3"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            rows += connection.execute("SELECT count(*) FROM spool").fetchone()[0]
    return rows
