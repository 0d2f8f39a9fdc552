"""The proof that order and repetition do not matter: the service and the pure fold agree on random facts.

Messages are recorded and receipts arrive in any order, early, late, twice, in batches of any size, applied by two
workers at once of which one may die between any two statements. Afterwards each message's state, the counters and the
counts of qualifications are what the pure fold says, and `recompute` finds no drift.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import TRANSIENT, Connection, Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest import pipeline
from app.ingest.rows import inbox_row
from app.ingest.store import append
from app.matching.recording import Outcome as Recorded
from app.matching.recording import Sent, record_messages
from app.messages.states import Facts, Handover, Report, State, Status, fold
from app.messages.store import recompute

pytestmark = pytest.mark.slow

T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)
CODES = ("069", "21b", None)
#: As often as the API tries.
_TRIES = 5
_serial = itertools.count(1)


@dataclass(frozen=True)
class Said:
    """A receipt to come: about message `message`, by the id of `part`, our reference, or both."""

    message: int
    part: int
    by: str  # id | reference | both
    outcome: Outcome
    code: str | None
    minutes: int | None
    unique: int

    @property
    def at(self) -> datetime | None:
        return None if self.minutes is None else T0 + timedelta(minutes=self.minutes)


@dataclass(frozen=True)
class Scenario:
    parts: Sequence[int]  # how many ids each message's submission gives; 0: only a reference
    whole: bool  # the gateway's receipts speak for all parts
    said: Sequence[Said]
    record_after: Sequence[int]  # after how many receipts each message is recorded
    batches: Sequence[int]
    deaths: Sequence[int | None]  # after which statement a worker dies in its nth batch


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    parts = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    one = st.builds(
        Said,
        message=st.integers(0, len(parts) - 1),
        part=st.integers(0, 2),
        by=st.sampled_from(("id", "id", "reference", "both")),
        outcome=st.sampled_from(list(Outcome)),
        code=st.sampled_from(CODES),
        minutes=st.sampled_from((None, -5, 1, 2, 2, 3, 60, 60 * 24 * 365 * 3)),
        unique=st.integers(0, 2),
    )
    said = draw(st.lists(one, max_size=14))
    repeated = draw(st.lists(st.sampled_from(said), max_size=6)) if said else []
    return Scenario(
        parts=parts,
        whole=draw(st.booleans()),
        said=draw(st.permutations([*said, *repeated])),
        record_after=[draw(st.integers(0, len(said) + 1)) for _ in parts],
        batches=draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)),
        deaths=draw(st.lists(st.one_of(st.none(), st.integers(0, 11)), max_size=4)),
    )


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
async def test_service_and_pure_fold_agree_on_any_facts_in_any_order(pool: Pool, scenario: Scenario) -> None:
    run = await Run.begin(pool, scenario)
    await run.play()
    await run.check()


class Killed(Exception):
    """The worker's process ended here."""


class Mortal:
    """A connection whose holder dies before its `lives`-th statement."""

    def __init__(self, connection: Connection, lives: int) -> None:
        self._connection = connection
        self._lives = lives

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval", "copy_records_to_table"):
            return method

        async def counted(*args: Any, **kwargs: Any) -> Any:
            if self._lives == 0:
                self._connection.terminate()
                raise Killed
            self._lives -= 1
            return await method(*args, **kwargs)

        return counted


class Run:
    """One scenario on a gateway and a delivery of its own."""

    def __init__(self, pool: Pool, scenario: Scenario, gateway: Gateway, delivery_id: int) -> None:
        self.pool = pool
        self.scenario = scenario
        self.gateway = gateway
        self.delivery_id = delivery_id
        self.deaths = iter(scenario.deaths)

    @classmethod
    async def begin(cls, pool: Pool, scenario: Scenario) -> "Run":
        options = Options(receipts_per="message" if scenario.whole else "part")
        name = f"agree-{next(_serial)}"
        gateway_id = await pool.fetchval(
            "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
            "VALUES ($1, 'generic', $1, $1, $2, '{}', now(), now()) RETURNING id",
            name,
            options.model_dump(),
        )
        delivery_id = await pool.fetchval(
            "INSERT INTO deliveries (label, sender, gateway_id, validity_seconds, tracking, metadata, status, created_at, "
            "updated_at) VALUES ($1, 'Acme', $2, 302400, true, '{}', 'in_progress', now(), now()) RETURNING id",
            name,
            gateway_id,
        )
        gateway = Gateway(
            id=gateway_id, key=name, kind="generic", implementation=name, options=options, auth=Auth(mode="none")
        )
        return cls(pool, scenario, gateway, delivery_id)

    # --- playing -----------------------------------------------------------------------------------------------------

    async def play(self) -> None:
        sizes = itertools.cycle(self.scenario.batches)
        await self._record(0)
        done = 0
        while done < len(self.scenario.said):
            size = next(sizes)
            await self._arrive(self.scenario.said[done : done + size])
            done = min(done + size, len(self.scenario.said))
            await asyncio.gather(self._work(next(self.deaths, None)), self._work(None), self._record(done))
        await self._record(len(self.scenario.said) + 1)
        while await self.pool.fetchval("SELECT count(*) FROM inbox WHERE gateway_id = $1", self.gateway.id):
            await self._work(None)

    async def _arrive(self, said: Sequence[Said]) -> None:
        now = datetime.now(UTC)
        async with self.pool.acquire() as connection:
            await append(connection, [inbox_row(self.gateway, self._receipt(each), now) for each in said])

    def _receipt(self, said: Said) -> Receipt:
        by_id = said.by in ("id", "both")
        return Receipt(
            outcome=said.outcome,
            status=f"{said.outcome.value}{said.unique}",
            provider_message_id=self._id(said.message, said.part) if by_id else None,
            reference=None if said.by == "id" else self._reference(said.message),
            error_code=said.code,
            occurred_at=said.at,
            raw=b"x",
        )

    def _id(self, message: int, part: int) -> str:
        return f"{self.gateway.key}-{message}-{part}"

    def _reference(self, message: int) -> str:
        return f"{self.gateway.key}-ref-{message}"

    async def _work(self, lives: int | None) -> None:
        try:
            async with self.pool.acquire() as connection, connection.transaction():
                await pipeline.apply(connection if lives is None else Mortal(connection, lives), limit=5)  # type: ignore[arg-type]
        except TRANSIENT:
            return
        except Exception:
            if lives is None:
                raise

    async def _record(self, after: int) -> None:
        """Records the messages whose turn has come; those that stand already are recognised."""
        due = [index for index, when in enumerate(self.scenario.record_after) if when <= after]
        rows = [
            Sent(
                line=index,
                address=f"+3460000{index:04d}",
                gateway=self.gateway,
                provider_message_ids=tuple(self._id(index, part) for part in range(self.scenario.parts[index])),
                reference=self._reference(index),
                submitted_at=T0,
            )
            for index in due
        ]
        outcome = await self._recorded(rows)
        assert (outcome.accepted, outcome.errors) == (len(due), [])

    async def _recorded(self, rows: Sequence[Sent]) -> Recorded:
        """As the API does it: a recording takes its keys in their order and then what receipts had tied to its references, a
        worker the keys of its batch. So now and then they wait for each other, and the one that is sent away tries again."""
        for _ in range(_TRIES):
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    return await record_messages(connection, self.delivery_id, rows, datetime.now(UTC))
            except TRANSIENT:
                continue
        raise AssertionError(f"sent away {_TRIES} times")

    # --- checking ----------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        recorded = await self.pool.fetch(
            "SELECT r.*, c.kind::text AS kind, c.value FROM receipts r JOIN correlations c ON c.id = r.correlation_id "
            "WHERE r.gateway_id = $1 ORDER BY r.id",
            self.gateway.id,
        )
        assert len(recorded) == len(self.scenario.said)
        states = []
        for index in range(len(self.scenario.parts)):
            message = await self.pool.fetchrow(
                "SELECT m.created_at, s.* FROM messages m JOIN message_state s ON s.message_id = m.id "
                "WHERE m.delivery_id = $1 AND m.reference = $2",
                self.delivery_id,
                self._reference(index),
            )
            assert message is not None
            state = fold(self._facts(index, message["created_at"], recorded))
            assert _as_stored(message) == _as_folded(state)
            states.append(state)
        await self._check_counters(states)

    def _facts(self, index: int, created_at: datetime, recorded: Sequence[Any]) -> Facts:
        with_id = self.scenario.parts[index] > 0
        keys = {self._id(index, part): part + 1 for part in range(3)}
        learned = {
            self._id(index, each.part) for each in self.scenario.said if each.by == "both" and each.message == index
        }
        known = {self._id(index, part) for part in range(self.scenario.parts[index])} | learned
        reports = [
            Report(
                id=row["id"],
                correlation=keys.get(row["value"], 99),
                fingerprint=row["fingerprint"],
                status=None if row["status"] is None else Status[row["status"].upper()],
                received_at=row["received_at"],
                occurred_at=row["occurred_at"],
                qualification=row["qualification_id"],
            )
            for row in recorded
            if row["value"] in known or row["value"] == self._reference(index)
        ]
        submitted = {self._id(index, part) for part in range(self.scenario.parts[index])}
        parts = frozenset() if self.scenario.whole else frozenset(keys[id] for id in (submitted or learned))
        return Facts(
            created_at=created_at, handovers=[Handover(id=1, at=T0, with_id=with_id)], reports=reports, parts=parts
        )

    async def _check_counters(self, states: Sequence[State]) -> None:
        rows = await self.pool.fetch(
            "SELECT metric, label, bucket, value FROM counters WHERE delivery_id = $1 AND value <> 0", self.delivery_id
        )
        counted = Counter({(r["label"], r["bucket"]): r["value"] for r in rows if r["metric"] == "status"})
        assert counted == Counter((state.status.name.lower(), state.qualification or 0) for state in states)
        sums = {r["metric"]: r["value"] for r in rows}
        assert sums.get("parts", 0) == sum(state.parts for state in states)
        assert sums.get("parts_received", 0) == sum(state.parts_received for state in states)
        assert sums.get("contradictory", 0) == sum(state.contradictory for state in states)
        qualified = await self.pool.fetch(
            "SELECT bucket, value FROM counters JOIN qualifications q ON q.id = bucket "
            "WHERE delivery_id = 0 AND metric = 'qualification' AND q.implementation = $1 AND value <> 0",
            self.gateway.implementation,
        )
        expected = Counter(state.qualification for state in states if state.qualification)
        assert {r["bucket"]: r["value"] for r in qualified} == expected
        async with self.pool.acquire() as connection, connection.transaction():
            assert (await recompute(connection, self.delivery_id, datetime.now(UTC)))["drift"] == 0


def _as_stored(row: Any) -> dict[str, Any]:
    reached = {
        Status[name.upper()]: row[f"{name}_at"]
        for name in ("accepted", "sent", "failed", "received")
        if row[f"{name}_at"]
    }
    names = ("occurred_at", "receipt_id", "parts", "parts_received", "contradictory", "unknown_receipts")
    return {
        "status": row["status"],
        "qualification": row["qualification_id"],
        "reached": reached,
        **{n: row[n] for n in names},
    }


def _as_folded(state: State) -> dict[str, Any]:
    names = (
        "qualification",
        "occurred_at",
        "receipt_id",
        "parts",
        "parts_received",
        "contradictory",
        "unknown_receipts",
    )
    return {
        "status": state.status.name.lower(),
        "reached": dict(state.reached),
        **{name: getattr(state, name) for name in names},
    }
