"""Receipts and the submissions they belong to arrive in the same moment: neither costs the other anything."""

import asyncio

from .harness import GATEWAY, Ledger, Line, fetch, postgres, record, say, service, set_up, tell

ROUNDS = 6


async def test_uploads_and_first_receipts_of_the_same_messages_do_not_fall_over_each_other() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            ledger = await set_up(acuse, messages=10)
            lines = [Line(acuse.port) for _ in range(8)]
            for round_ in range(ROUNDS):
                wish = {"label": f"Round {round_}", "sender": "Acuse", "gateway": GATEWAY}
                ledger.delivery_id = (await acuse.post("/v1/deliveries", wish, status=201))["id"]
                ids = [f"r{round_}-{number}" for number in range(1_500)]
                calls = [_call(line, ledger, ids[place::8]) for place, line in enumerate(lines)]
                await asyncio.gather(record(acuse, ledger, ids, first_number=round_ * 10_000), *calls)
                assert (await acuse.post(f"/v1/deliveries/{ledger.delivery_id}/recompute"))["drift"] == 0
            for line in lines:
                await line.close()
            assert ledger.refused == {}
            (row,) = await fetch(
                database.dsn, "SELECT deadlocks AS n FROM pg_stat_database WHERE datname = current_database()"
            )
            assert row["n"] == 0, (
                "each deadlock holds up an upload and the receipts for a second, and one of them loses"
            )
            say(f"{ledger.sendings.total()} receipts met {ROUNDS} uploads")


async def _call(line: Line, ledger: Ledger, ids: list[str]) -> None:
    for id in ids:
        await tell(line, ledger, ledger.add(id, "delivered"))
