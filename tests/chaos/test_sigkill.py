"""The service dies by SIGKILL, at any moment, as often as it likes: what it acknowledged is there afterwards."""

import asyncio
import random
from typing import Any

import pytest

from app import embedded
from app.embedded import postmaster

from .harness import (
    GATEWAY,
    Line,
    Load,
    Told,
    books_balance,
    fetch,
    postgres,
    record_late,
    say,
    service,
    set_up,
    until,
)

KILLS = 20


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_no_acknowledged_receipt_is_lost_by_sigkill(workers: str) -> None:
    kills = KILLS if workers == "1" else KILLS // 5
    seed = random.randrange(2**32)
    say(f"seed {seed}")
    moments = random.Random(seed)
    # With so much patience PostgreSQL never counts as away, and nothing takes the way around by the spool.
    settings = {"ACUSE_WORKERS": workers, "ACUSE_COMMIT_TIMEOUT_SECONDS": "30"}
    with postgres() as database:
        async with service(database.url, **settings) as acuse:
            ledger = await set_up(acuse)
            async with Load(acuse, ledger, seed=seed) as load:
                for _ in range(kills):
                    await load.goes_on()
                    await asyncio.sleep(moments.uniform(0.0, 0.7))  # the random moment
                    await asyncio.to_thread(acuse.kill)
                    acuse.start()
                await load.goes_on(100)
            await acuse.ready()
            await record_late(acuse, ledger)
            found = await books_balance(acuse, database.dsn, ledger)
            # One sending, one fact at the most: an answer that was lost is no reason to store anything twice.
            assert [mark for mark, count in found.items() if count > ledger.sendings[mark]] == []
            assert set(ledger.refused) <= {"none", "503"}, ledger.answers  # 503: gateways not known yet
            say(
                f"{kills} kills of {workers} worker(s): {len(ledger.acknowledged)} acknowledged, {found.total()} facts, "
                f"{len(found.keys() - ledger.acknowledged)} of them never acknowledged; answers {dict(ledger.answers)}"
            )


async def test_the_embedded_database_outlives_a_sigkill_of_the_service() -> None:
    async with service(None) as acuse:
        ledger = await set_up(acuse, messages=500)
        dsn = embedded.running_dsn(acuse.data_dir)
        assert dsn is not None
        server = postmaster.find(acuse.data_dir / "postgres")
        async with Load(acuse, ledger) as load:
            await load.goes_on(300)
            await asyncio.to_thread(acuse.kill)
            acuse.start()
            await load.goes_on(300)
        await record_late(acuse, ledger)
        await books_balance(acuse, dsn, ledger)
        assert postmaster.find(acuse.data_dir / "postgres") == server, "the server was taken over, not restarted"
        await asyncio.to_thread(acuse.stop)
        assert embedded.running_dsn(acuse.data_dir) is None, "who takes a server over stops it, too"


async def test_a_poison_receipt_is_set_aside_and_its_neighbours_are_applied() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse, messages=500)
            poison = Told("m0", ledger.known[0], "delivered")
            await fetch(
                database.dsn,
                "CREATE FUNCTION poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF position('poison-me' IN encode(NEW.raw, 'escape')) > 0 THEN RAISE 'out of order'; END IF; RETURN NEW; END $$",
            )
            await fetch(
                database.dsn,
                "CREATE TRIGGER poisoned BEFORE INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION poisoned()",
            )
            line = Line(acuse.port)
            async with Load(acuse, ledger) as load:
                await load.goes_on(100)
                status, _ = await line.post(poison.body.replace(b'"mark"', b'"poison-me"'))
                assert 200 <= status < 300
                await load.goes_on(200)
            await line.close()
            await record_late(acuse, ledger)

            async def shelved() -> Any:
                found = await acuse.get(f"/v1/receipts/rejected?gateway={GATEWAY}")
                return found if found["total"] else None

            shelf = await until(shelved, "the poison receipt is set aside")
            assert shelf["total"] == 1
            (item,) = shelf["items"]
            assert "poison-me" in item["raw"]
            assert item["reason"].startswith("This receipt could not be applied:")

            await fetch(database.dsn, "DELETE FROM rejected")
            await books_balance(acuse, database.dsn, ledger)
