"""PostgreSQL goes away, hangs, and comes back: gateways notice nothing, and nothing is lost or counted twice."""

import asyncio
import time
from collections import Counter

import httpx

from .harness import (
    PATIENCE_SECONDS,
    Ledger,
    Line,
    Load,
    Postgres,
    Service,
    books_balance,
    fetch,
    marks,
    postgres,
    record_late,
    say,
    service,
    set_up,
    spool_rows,
    tell,
    until,
)

AWAY_SECONDS = 30.0
HUNG_SECONDS = 6.0


class Watch:
    """Asks the API, and for health, again and again while the database is away."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answers: Counter[tuple[int, str]] = Counter()
        self.slowest_seconds = 0.0

    async def look(self) -> None:
        began = time.monotonic()
        try:
            answer = await self._service.api.get("/v1/deliveries", timeout=10)
        except httpx.TimeoutException:
            self.answers[0, "none within 10 s"] += 1
            return
        finally:
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.answers[answer.status_code, answer.headers["content-type"]] += 1
        if answer.status_code == 503:
            problem = answer.json()
            assert problem["status"] == 503
            assert problem["title"]
            assert int(answer.headers["retry-after"]) > 0
        assert (await self._service.api.get("/healthz")).status_code == 200


async def test_callbacks_are_taken_while_postgresql_is_away_for_30_seconds() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse)
            pid = acuse.pid
            watch = Watch(acuse)
            async with Load(acuse, ledger, pause_seconds=0.05) as load:
                await load.goes_on(500)
                await asyncio.to_thread(database.kill)
                gone_at = time.monotonic()
                before = len(ledger.acknowledged)
                await load.goes_on()
                while time.monotonic() < gone_at + AWAY_SECONDS:
                    await watch.look()
                    await asyncio.sleep(0.25)
                said = await acuse.get("/readyz")  # 200: callbacks can be taken; and it says by which way
                assert (said["database"], said["spool"]) == (False, True)
                assert said["spooled"] > 0
                meanwhile = len(ledger.acknowledged) - before
                assert meanwhile > 0
                await asyncio.to_thread(database.back)
                back_at = time.monotonic()
                await until(lambda: _is_reached(acuse), "the service finds the database again")
                reached_seconds = time.monotonic() - back_at
                await load.goes_on(500)
            await record_late(acuse, ledger)
            found = await books_balance(acuse, database.dsn, ledger)

            assert ledger.refused == {}, "every callback was taken"
            assert watch.answers.keys() == {(503, "application/problem+json")}, watch.answers
            assert watch.slowest_seconds < 5
            assert acuse.pid == pid
            assert acuse.starts == 1
            assert spool_rows(acuse.data_dir) == 0
            say(
                f"away {back_at - gone_at:.1f} s: {len(ledger.acknowledged)} acknowledged, {meanwhile} of them meanwhile; "
                f"slowest callback {ledger.slowest_seconds:.2f} s; {watch.answers.total()} API requests, all 503, the "
                f"slowest {watch.slowest_seconds:.2f} s; back after {reached_seconds:.2f} s; repeats {_repeats(found)}"
            )


async def test_a_hung_postgresql_is_away_too() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse)
            async with Load(acuse, ledger, connections=8, pause_seconds=0.05) as load:
                await load.goes_on(200)
                with database.hung():
                    hung_at = time.monotonic()
                    while time.monotonic() < hung_at + HUNG_SECONDS:
                        await load.goes_on()
                        assert (await acuse.api.get("/healthz")).status_code == 200
                    said = await acuse.get("/readyz")
                    assert (said["database"], said["spool"]) == (False, True)
                await until(lambda: _is_reached(acuse), "the service finds the database again")
                await load.goes_on(200)
            await record_late(acuse, ledger)
            found = await books_balance(acuse, database.dsn, ledger)
            assert ledger.refused == {}, "every callback was taken"
            say(
                f"hung {HUNG_SECONDS:.0f} s: {len(ledger.acknowledged)} acknowledged; slowest callback "
                f"{ledger.slowest_seconds:.2f} s; repeats {_repeats(found)}"
            )


async def test_the_api_answers_503_while_postgresql_hangs() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            await set_up(acuse, messages=100)
            watch = Watch(acuse)
            with database.hung():
                for _ in range(3):
                    await watch.look()
            say(
                f"API requests while PostgreSQL hangs: {dict(watch.answers)}, the slowest {watch.slowest_seconds:.2f} s"
            )
            assert watch.answers.keys() == {(503, "application/problem+json")}, watch.answers
            assert watch.slowest_seconds < 5
            await until(lambda: _is_reached(acuse), "the service finds the database again")
            assert (await acuse.api.get("/v1/deliveries")).status_code == 200


async def test_the_service_starts_while_postgresql_hangs() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            await asyncio.to_thread(acuse.kill)
            with database.hung():
                began = time.monotonic()
                acuse.start()
                await acuse.alive(seconds=30)
                say(f"alive {time.monotonic() - began:.1f} s after a start with a hung PostgreSQL")
            await acuse.ready()
            await set_up(acuse, messages=100)


async def test_service_killed_while_spooling_loses_nothing() -> None:
    """After a restart without the database, and without what the last start knew, the service knows neither gateways nor
    keys: it lives, says that it is not ready, and asks gateways to come again (503 with Retry-After), which loses nothing.
    What it had acknowledged before waits on the disk."""
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse, messages=500)
            async with Load(acuse, ledger) as load:
                await load.goes_on(100)
                await asyncio.to_thread(database.kill)
                await load.goes_on(500)
                await asyncio.to_thread(acuse.kill)
            spooled = spool_rows(acuse.data_dir)
            assert spooled >= 500 - 16, "the spool outlives the service"

            (acuse.data_dir / "known.sealed").unlink()  # as if it had never been written: see test_started_away.py
            began = time.monotonic()
            acuse.start()
            await acuse.alive()
            started_seconds = time.monotonic() - began
            answer = await acuse.api.get("/readyz")
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            line = Line(acuse.port)
            for _ in range(5):
                told = await tell(line, ledger, ledger.add(ledger.known[0], "enroute"))
                assert told is not None
                status, headers = told
                assert status in (200, 503)
                assert status != 503 or int(headers["retry-after"]) > 0
            assert (await acuse.api.get("/v1/deliveries")).status_code == 503
            await line.close()
            await asyncio.to_thread(acuse.kill)  # and once more, with nothing done
            acuse.start()
            await acuse.alive()

            await asyncio.to_thread(database.back)
            await acuse.ready()
            again = await tell(line, ledger, ledger.add(ledger.known[0], "enroute"))
            assert again is not None
            assert 200 <= again[0] < 300
            await line.close()
            await record_late(acuse, ledger)
            found = await books_balance(acuse, database.dsn, ledger)
            assert spool_rows(acuse.data_dir) == 0
            say(
                f"killed with {spooled} in the spool; without the database it is alive after {started_seconds:.1f} s; "
                f"{len(ledger.acknowledged)} acknowledged, {found.total()} facts; answers {dict(ledger.answers)}"
            )


async def test_service_killed_while_draining_brings_no_receipt_twice() -> None:
    with postgres() as database:
        async with service(database.url, ACUSE_INBOX_BATCH="20") as acuse:
            ledger = await set_up(acuse, messages=500)
            await asyncio.to_thread(database.kill)
            async with Load(acuse, ledger) as load:
                await load.goes_on(1_500)
            # The first commit that failed may have reached PostgreSQL before it died; what was spooled afterwards did not.
            await asyncio.to_thread(database.back)
            for _ in range(3):
                before = await _drained(database)

                async def drains(before: int = before) -> bool:
                    return await _drained(database) > before or spool_rows(acuse.data_dir) == 0

                await until(drains, "the spool is drained")
                await asyncio.to_thread(acuse.kill)
                acuse.start()
                await acuse.ready()
            await record_late(acuse, ledger)
            found = await books_balance(acuse, database.dsn, ledger)
            assert [mark for mark, count in found.items() if count > ledger.sendings[mark]] == []
            say(f"{len(ledger.acknowledged)} acknowledged, {found.total()} facts, {ledger.sendings.total()} sendings")


async def test_full_spool_answers_503_with_retry_after() -> None:
    with postgres() as database:
        async with service(database.url, ACUSE_SPOOL_MAX_BYTES="1000000") as acuse:
            ledger = await set_up(acuse, messages=500)
            await asyncio.to_thread(database.kill)
            lines = [Line(acuse.port) for _ in range(8)]
            headers = await asyncio.wait_for(_until_full(lines, ledger), PATIENCE_SECONDS)
            assert int(headers["retry-after"]) > 0
            assert headers["content-type"] == "application/problem+json"
            assert (await acuse.api.get("/readyz")).status_code == 503
            taken = len(ledger.acknowledged)
            assert taken > 0
            assert (await acuse.api.get("/healthz")).status_code == 200

            await asyncio.to_thread(database.back)
            await until(lambda: _is_reached(acuse), "the service finds the database again")
            answer = await tell(lines[0], ledger, ledger.add(ledger.known[0], "delivered"))
            assert answer is not None
            assert 200 <= answer[0] < 300
            for line in lines:
                await line.close()
            await record_late(acuse, ledger)
            await books_balance(acuse, database.dsn, ledger)
            say(f"{taken} receipts fill a spool of 1 MB; answers {dict(ledger.answers)}")


async def test_receipts_that_the_database_refuses_do_not_hold_up_the_spool() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse, messages=100)
            await fetch(
                database.dsn,
                "CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "IF position('refuse-me' IN encode(NEW.raw, 'escape')) > 0 THEN RAISE 'no'; END IF; RETURN NEW; END $$",
            )
            await fetch(
                database.dsn, "CREATE TRIGGER refused BEFORE INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION refused()"
            )
            await asyncio.to_thread(database.kill)
            line = Line(acuse.port)
            receipts = [ledger.add(id, "delivered") for id in ledger.known]
            refused = [receipts[0], receipts[40]]
            for told in receipts:
                if told in refused:
                    status, _ = await line.post(told.body.replace(b'"mark"', b'"refuse-me"'))
                    assert 200 <= status < 300
                else:
                    assert await tell(line, ledger, told) is not None
            await line.close()
            await asyncio.to_thread(database.back)
            for told in refused:
                del ledger.told[told.mark]

            async def brought() -> bool:
                return ledger.acknowledged <= (await marks(database.dsn)).keys()

            await until(brought, "the refused ones' neighbours are brought from the spool", seconds=15)
            shelf = await acuse.get("/v1/receipts/rejected")
            assert shelf["total"] == 2
            assert all("refuse-me" in item["raw"] and item["reason"] for item in shelf["items"])
            await fetch(database.dsn, "DELETE FROM rejected")
            await record_late(acuse, ledger)
            await books_balance(acuse, database.dsn, ledger)


# --- small parts -----------------------------------------------------------------------------------------------------


async def _is_reached(service: Service) -> bool:
    try:
        return bool((await service.api.get("/readyz", timeout=5)).json()["database"])  # 503 while the spool is full
    except httpx.TransportError:
        return False


async def _drained(database: Postgres) -> int:
    """How many rows of all spools have come to the inbox."""
    (row,) = await fetch(database.dsn, "SELECT coalesce(sum(last_id), 0)::bigint AS n FROM spool_progress")
    return int(row["n"])


async def _until_full(lines: list[Line], ledger: Ledger) -> dict[str, str]:
    """Sends on all lines until there is a 503; its headers."""
    full: list[dict[str, str]] = []

    async def fill(line: Line) -> None:
        while not full:
            told = await tell(line, ledger, ledger.add(ledger.known[len(ledger.told) % len(ledger.known)], "enroute"))
            assert told is not None
            status, headers = told
            assert status == 503 or 200 <= status < 300
            if status == 503:
                full.append(headers)

    await asyncio.gather(*map(fill, lines))
    return full[0]


def _repeats(found: Counter[str]) -> int:
    """Facts beyond the first of each receipt: sent again on purpose, or stored twice when a commit was in doubt."""
    return found.total() - len(found)
