"""A carrier's outage: thousands of hard failures with one error must not put its customers into quarantine."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.db import TRANSIENT, Pool
from app.gateways.receipt import Auth, Gateway, Options, Outcome, Receipt
from app.ingest import pipeline
from app.ingest.clock import Clock
from app.ingest.rows import inbox_row
from app.ingest.store import append
from app.matching.recording import Sent, record_messages
from app.projections.replay import recompute, replay
from app.quarantine import breaker, changing
from app.quarantine.store import examine_some
from tests.ingest.test_agreement import Killed

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)
BEGIN = datetime.now(UTC) - timedelta(days=1)
MANY = 20_000
#: By the code of the error: its failure type.
ERRORS = {"069": "hard", "070": "soft", "071": "hard"}
_serial = itertools.count(1)


class Carrier:
    """A gateway of its own with one delivery."""

    def __init__(self, pool: Pool, gateway: Gateway, delivery: int) -> None:
        self.pool = pool
        self.gateway = gateway
        self.delivery = delivery
        self.sent = 0

    @classmethod
    async def make(cls, pool: Pool, messages: int) -> "Carrier":
        name = f"carrier-{next(_serial)}"
        id = await pool.fetchval(
            "INSERT INTO gateways (key, kind, label, implementation, options, auth, created_at, updated_at) "
            "VALUES ($1, 'generic', $1, $1, '{}', '{}', now(), now()) RETURNING id",
            name,
        )
        delivery = await pool.fetchval(
            "INSERT INTO deliveries (label, sender, gateway_id, validity_seconds, tracking, metadata, status, created_at, "
            "updated_at) VALUES ($1, 'Acme', $2, 302400, true, '{}', 'in_progress', now(), now()) RETURNING id",
            name,
            id,
        )
        await pool.executemany(
            "INSERT INTO qualifications (implementation, status, error_code, failure_type, reason, sentence, state, updated_at) "
            "VALUES ($1, 'FAILED', $2, $3, 'unreachable', '-', 'keep', now())",
            [(name, code, failure_type) for code, failure_type in ERRORS.items()],
        )
        gateway = Gateway(
            id=id, key=name, kind="generic", implementation=name, options=Options(), auth=Auth(mode="token")
        )
        carrier = cls(pool, gateway, delivery)
        await carrier.send(messages)
        return carrier

    def address(self, number: int) -> str:
        return f"+34{self.gateway.id:03d}{number:06d}"

    async def send(self, messages: int) -> None:
        """As many messages more, to as many addresses."""
        rows = [
            Sent(
                line=number,
                address=self.address(number),
                gateway=self.gateway,
                provider_message_ids=(f"{self.gateway.key}-{number}",),
                submitted_at=BEGIN,
            )
            for number in range(self.sent, self.sent + messages)
        ]
        async with self.pool.acquire() as connection, connection.transaction():
            outcome = await record_messages(connection, self.delivery, rows, BEGIN)
        assert outcome.accepted == messages
        self.sent += messages

    async def arrive(self, numbers: Sequence[int], code: str | None = "069", received: datetime | None = None) -> None:
        """Receipts about these messages: failed with `code`, or received."""
        at = received or datetime.now(UTC)
        outcome = Outcome.FAILED if code else Outcome.RECEIVED
        rows = [
            inbox_row(
                self.gateway,
                Receipt(
                    outcome=outcome,
                    status=outcome.value,
                    provider_message_id=f"{self.gateway.key}-{number}",
                    error_code=code,
                    raw=b"x",
                ),
                at,
            )
            for number in numbers
        ]
        async with self.pool.acquire() as connection:
            await append(connection, rows)

    async def hear(self, numbers: Sequence[int], code: str | None = "069") -> None:
        await self.arrive(numbers, code)
        await work(self.pool)

    # --- looking -----------------------------------------------------------------------------------------------------

    async def statuses(self) -> dict[str, int]:
        rows = await self.pool.fetch(
            "SELECT status::text AS status, count(*) AS n FROM quarantine WHERE gateway_id = $1 GROUP BY 1",
            self.gateway.id,
        )
        return {row["status"]: row["n"] for row in rows}

    async def breakers(self) -> list[Any]:
        return await self.pool.fetch(
            "SELECT b.*, q.error_code, (SELECT count(*) FROM held h WHERE h.breaker_id = b.id) AS held FROM breakers b "
            "JOIN qualifications q ON q.id = b.qualification_id WHERE b.gateway_id = $1 ORDER BY b.id",
            self.gateway.id,
        )

    async def decide(self, decision: str) -> Any:
        """About the breaker that is open."""
        (row,) = [each for each in await self.breakers() if each["closed_at"] is None]
        return await self.decide_about(row["id"], decision)

    async def decide_about(self, id: int, decision: str) -> Any:
        async with self.pool.acquire() as connection, connection.transaction():
            return await breaker.decide(connection, id, decision, actor="tests", note="-", now=datetime.now(UTC))

    async def settle(self, decision: str) -> Any:
        found = await self.decide(decision)
        await changing.drain(self.pool, datetime.now(UTC))
        return found

    async def balances(self) -> None:
        """What stands is what the facts give, in states, counters and quarantine."""
        async with self.pool.acquire() as connection, connection.transaction():
            found = await recompute(connection, self.delivery, datetime.now(UTC))
        assert (found["drift"], found["quarantine_changed"]) == (0, 0)
        async with self.pool.acquire() as connection:
            assert [each async for each in replay(connection, self.delivery) if not each.empty] == []

    async def new_quarantines(self) -> int:
        value = await self.pool.fetchval(
            "SELECT coalesce(sum(value), 0) FROM counters WHERE delivery_id = $1 AND metric = 'new_quarantines'",
            self.delivery,
        )
        return int(value)

    async def minutes(self) -> int:
        value = await self.pool.fetchval(
            "SELECT count(*) FROM counters WHERE gateway_id = $1 AND metric IN ('failures', 'finals')", self.gateway.id
        )
        return int(value)

    async def usually(self, failures: int, finals: int, code: str = "069") -> None:
        """So many failures with `code` among so many final answers, yesterday."""
        qualification = await self.pool.fetchval(
            "SELECT id FROM qualifications WHERE implementation = $1 AND error_code = $2",
            self.gateway.implementation,
            code,
        )
        await self.pool.executemany(
            "INSERT INTO counters (delivery_id, metric, gateway_id, label, bucket, value) VALUES (0, $1, $2, $3, $4, $5)",
            [
                ("failures", self.gateway.id, str(qualification), int(BEGIN.timestamp()) // 60, failures),
                ("finals", self.gateway.id, "", int(BEGIN.timestamp()) // 60, finals),
            ],
        )


async def work(pool: Pool, *, batch: int = 2_000, workers: int = 1) -> None:
    """Until the inbox is empty."""

    async def one() -> None:
        while True:
            try:
                async with pool.acquire() as connection, connection.transaction():
                    taken = await pipeline.apply(connection, limit=batch)
            except TRANSIENT:
                continue
            if not taken:
                return

    await asyncio.gather(*(one() for _ in range(workers)))


@pytest.mark.parametrize("decision", ["apply", "discard"])
async def test_an_outage_holds_its_addresses_and_one_decision_applies_or_discards_them(
    pool: Pool, decision: str
) -> None:
    carrier = await Carrier.make(pool, MANY)
    await carrier.hear(range(MANY))
    quarantined = await carrier.new_quarantines()
    (row,) = await carrier.breakers()
    assert quarantined < 200
    assert (row["error_code"], quarantined + row["held"]) == ("069", MANY)
    await carrier.balances()
    found = await carrier.settle(decision)
    assert (found["addresses"], found["messages"]) == (row["held"], row["held"])
    after = {"quarantined": MANY} if decision == "apply" else {}
    assert await carrier.statuses() == after
    await carrier.balances()
    assert await carrier.statuses() == after
    assert await carrier.new_quarantines() == sum(after.values())
    assert await pool.fetchval("SELECT count(*) FROM held WHERE breaker_id = $1", row["id"]) == 0


async def test_two_workers_with_small_batches_hold_every_failure_of_an_outage(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 3_000)
    await carrier.arrive(range(3_000))
    await work(pool, batch=40, workers=2)
    (row,) = await carrier.breakers()
    quarantined = await carrier.new_quarantines()
    assert quarantined < 200
    assert quarantined + row["held"] == 3_000
    await carrier.balances()


async def test_what_failed_before_the_outage_showed_is_held_too(pool: Pool) -> None:
    """Nine in ten answers of the minute are good ones: it shows late."""
    carrier = await Carrier.make(pool, 1_500)
    await carrier.hear(range(400, 1_500), None)
    await carrier.hear(range(200))
    assert (await carrier.statuses(), await carrier.breakers()) == ({"quarantined": 200}, [])
    await carrier.hear(range(200, 400))
    (row,) = await carrier.breakers()
    assert (row["held"], await carrier.statuses()) == (400, {})
    await carrier.balances()


async def test_soft_failures_of_an_outage_are_held_too(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 300)
    await carrier.hear(range(300), "070")
    (row,) = await carrier.breakers()
    assert (row["held"], await carrier.statuses()) == (300, {})
    await carrier.settle("apply")
    assert await carrier.statuses() == {"with_errors": 300}
    await carrier.balances()


async def test_fewer_failures_than_an_outage_has_count_at_once(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 99)
    await carrier.hear(range(99))
    assert (await carrier.breakers(), await carrier.statuses()) == ([], {"quarantined": 99})


async def test_an_error_that_is_usual_trips_only_far_above_its_usual_share(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 1_000)
    await carrier.usually(3_000, 10_000)
    await carrier.hear(range(500, 700), None)
    await carrier.hear(range(500))  # 500 of 700: 71 %, and three times the usual are 90 %
    assert (await carrier.breakers(), await carrier.statuses()) == ([], {"quarantined": 500})
    rare = await Carrier.make(pool, 1_000)
    await rare.usually(2_000, 10_000)
    await rare.hear(range(500, 700), None)
    await rare.hear(range(500))
    (row,) = await rare.breakers()
    assert (float(row["usual_share"]), row["failures"], row["finals"]) == (0.2, 500, 700)


async def test_too_few_answers_say_nothing_of_what_is_usual(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 200)
    await carrier.usually(999, 999)
    await carrier.hear(range(200))
    (row,) = await carrier.breakers()
    assert row["usual_share"] is None


async def test_a_breaker_holds_neither_other_errors_nor_other_gateways(pool: Pool) -> None:
    carrier, other = await Carrier.make(pool, 250), await Carrier.make(pool, 50)
    await carrier.hear(range(200))
    await carrier.hear(range(200, 250), "071")
    await other.hear(range(50))
    assert await carrier.statuses() == {"quarantined": 50}
    assert await other.statuses() == {"quarantined": 50}
    assert [row["held"] for row in await carrier.breakers()] == [200]


async def test_a_message_that_is_received_after_all_is_let_go(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 200)
    await carrier.hear(range(200))
    await carrier.hear(range(50), None)
    (row,) = await carrier.breakers()
    assert row["held"] == 150
    found = await carrier.settle("apply")
    assert found["addresses"] == 150
    assert await carrier.statuses() == {"quarantined": 150}
    await carrier.balances()


async def test_a_message_that_fails_otherwise_later_is_let_go_and_counts(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 200)
    await carrier.hear(range(200))
    await asyncio.sleep(0.01)
    await carrier.hear(range(10), "071")
    (row,) = await carrier.breakers()
    assert (row["held"], await carrier.statuses()) == (190, {"quarantined": 10})
    await carrier.balances()


async def test_after_it_was_applied_failures_count_at_once_and_do_not_trip_it_again(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 600)
    await carrier.hear(range(200))
    await carrier.settle("apply")
    await carrier.hear(range(200, 600))
    assert len(await carrier.breakers()) == 1
    assert await carrier.statuses() == {"quarantined": 600}
    await carrier.balances()


async def test_more_than_an_hour_after_it_was_applied_it_can_trip_again(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 600)
    await carrier.hear(range(200))
    await carrier.settle("apply")
    await pool.execute(
        "UPDATE breakers SET opened_at = opened_at - interval '61 minutes', closed_at = closed_at - interval '61 minutes' "
        "WHERE gateway_id = $1",
        carrier.gateway.id,
    )
    await carrier.hear(range(200, 600))
    assert [row["decision"] for row in await carrier.breakers()] == ["apply", None]


async def test_after_it_was_discarded_the_same_outage_is_held_by_the_next_one(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 400)
    await carrier.hear(range(200))
    await carrier.settle("discard")
    await carrier.hear(range(200, 210))
    first, second = await carrier.breakers()
    assert (second["opened_at"], second["held"]) == (first["closed_at"], 10)
    await carrier.settle("apply")  # of these ten, and of none that was discarded
    assert await carrier.statuses() == {"quarantined": 10}
    await carrier.balances()


async def test_once_the_outage_is_over_failures_after_closing_count_again(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 210)
    await carrier.hear(range(200))
    await carrier.settle("discard")
    await pool.execute(  # as if it had been an hour ago
        "UPDATE counters SET bucket = bucket - 60 WHERE gateway_id = $1 AND metric IN ('failures', 'finals')",
        carrier.gateway.id,
    )
    await carrier.hear(range(200, 210))
    assert await carrier.statuses() == {"quarantined": 10}
    await carrier.balances()


async def test_what_came_in_before_the_decision_is_part_of_it_however_late_it_is_applied(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 300)
    await carrier.hear(range(200))
    await carrier.arrive(range(200, 300))
    await carrier.settle("discard")
    await work(pool)
    assert await carrier.statuses() == {}
    await carrier.balances()


async def test_a_worker_under_way_while_it_is_decided_leaves_nothing_behind(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 300)
    await carrier.hear(range(200))
    await carrier.arrive(range(200, 300))
    async with pool.acquire() as connection:
        async with connection.transaction():
            await pipeline.apply(connection, limit=2_000)
            deciding = asyncio.create_task(carrier.settle("apply"))
            await asyncio.sleep(0.2)
            assert not deciding.done()
        found = await deciding
    assert found["messages"] == 300
    assert await carrier.statuses() == {"quarantined": 300}
    await carrier.balances()


async def test_many_drain_at_once_and_each_address_is_examined(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 4_000)
    await carrier.hear(range(4_000))
    await carrier.decide("apply")
    await asyncio.gather(*(changing.drain(pool, datetime.now(UTC)) for _ in range(3)))
    assert await pool.fetchval("SELECT count(*) FROM to_examine") == 0
    assert await carrier.statuses() == {"quarantined": 4_000}
    await carrier.balances()


async def test_after_a_crash_between_decision_and_examination_the_clock_finishes(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 1_500)
    await carrier.hear(range(1_500))
    await carrier.decide("apply")  # and the process ends here
    assert await carrier.statuses() == {}
    assert await pool.fetchval("SELECT count(*) FROM to_examine") == 1_500
    await Clock(pool, every_seconds=1).tick(datetime.now(UTC))
    assert await pool.fetchval("SELECT count(*) FROM to_examine") == 0
    assert await carrier.statuses() == {"quarantined": 1_500}


async def test_an_examination_that_fails_leaves_its_addresses_to_be_examined(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 200)
    await carrier.hear(range(200))
    await carrier.decide("apply")

    async def dies() -> None:
        async with pool.acquire() as connection, connection.transaction():
            assert await examine_some(connection, datetime.now(UTC)) == 200
            raise Killed

    with pytest.raises(Killed):
        await dies()
    assert await pool.fetchval("SELECT count(*) FROM to_examine") == 200
    await changing.drain(pool, datetime.now(UTC))
    assert await carrier.statuses() == {"quarantined": 200}


async def test_only_one_decides(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 200)
    await carrier.hear(range(200))
    (row,) = await carrier.breakers()  # both saw it open
    both = await asyncio.gather(carrier.decide_about(row["id"], "apply"), carrier.decide_about(row["id"], "discard"))
    assert sorted(each is None for each in both) == [False, True]
    await changing.drain(pool, datetime.now(UTC))


async def test_counts_by_minute_are_dropped_when_nothing_is_compared_with_them(pool: Pool) -> None:
    carrier = await Carrier.make(pool, 1)
    await carrier.usually(5, 10)
    async with pool.acquire() as connection:
        await breaker.forget_minutes(connection, BEGIN + breaker.USUAL + timedelta(days=1))
        kept = await carrier.minutes()
        await breaker.forget_minutes(connection, BEGIN + breaker.USUAL + timedelta(days=1) + MINUTE)
        left = await carrier.minutes()
    assert (kept, left) == (2, 0)
