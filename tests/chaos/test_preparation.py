"""The service dies by SIGKILL while it prepares: every target has exactly one outcome afterwards, and the books balance."""

import asyncio
import random
from collections import Counter

import orjson

from .harness import PATIENCE_SECONDS, fetch, postgres, say, service, until

TARGETS = 60_000
KILLS = 8


def _rows(chance: random.Random) -> tuple[list[bytes], Counter[str]]:
    """An audience, and how many of it must end for each reason (none: as messages)."""
    expected: Counter[str] = Counter()
    rows = []
    for number in range(TARGETS):
        kind = chance.choices(["message", "double", "invalid_address", "control_group"], [90, 5, 3, 2])[0]
        known = number > 0 and kind == "double"
        kind = "message" if kind == "double" and not known else kind
        national = f"6{number:08d}" if not known else "600000000"
        expected[kind] += 1
        address = {"invalid_address": "12"}.get(kind, f"{chance.choice(('+34', '0034', ''))}{national}")
        rows.append(
            orjson.dumps(
                {"address": address, "params": {"name": "Ana"}, "control": kind == "control_group" or number == 0}
            )
        )
    expected["control_group"] += 1  # the very first, which all doubles are doubles of
    expected["message"] -= 1
    return rows, expected


async def test_a_preparation_killed_again_and_again_gives_each_target_one_outcome() -> None:
    seed = random.randrange(2**32)
    say(f"seed {seed}")
    chance = random.Random(seed)
    chance.random()
    rows, expected = _rows(chance)
    with postgres() as database:
        async with service(database.url) as acuse:
            delivery = await acuse.post(
                "/v1/deliveries",
                {"label": "Chaos", "sender": "Acuse", "default_region": "ES", "content": "Hello {{name}}, STOP"},
                status=201,
            )
            path = f"/v1/deliveries/{delivery['id']}"
            answer = await acuse.api.post(
                f"{path}/targets",
                content=b"\n".join(rows),
                headers={"Content-Type": "application/x-ndjson"},
                timeout=PATIENCE_SECONDS,
            )
            assert answer.json()["total"] == TARGETS
            progress = []
            for preparation in range(2):  # the second time it also takes back what the first one made
                await acuse.post(f"{path}/prepare", status=202)
                for _ in range(KILLS // 2):
                    await asyncio.sleep(chance.uniform(0.0, 0.6))  # the random moment
                    await asyncio.to_thread(acuse.kill)
                    (row,) = await fetch(database.dsn, "SELECT step, done FROM preparations")
                    progress.append((preparation, row["step"], row["done"]))
                    acuse.start()
                    await acuse.ready()

                async def prepared() -> bool:
                    return bool((await acuse.get(path))["status"] == "prepared")

                await until(prepared, "the preparation comes to its end")
            say(f"killed at {progress}")
            await _each_target_has_one_outcome(database.dsn, expected)
            summary = await acuse.get(f"{path}/summary")
            assert summary["to_send"] == summary["by_status"]["pending"] == expected["message"]
            assert summary["excluded_by_reason"] == {k: n for k, n in expected.items() if k != "message"}
            assert summary["targeted"] == TARGETS
            recomputed = await acuse.api.post(f"{path}/recompute", timeout=PATIENCE_SECONDS)
            assert recomputed.json()["drift"] == 0
            figures = (await acuse.get(path))["preparation"]
            assert figures["messages"] + sum(figures["excluded"].values()) == TARGETS


async def _each_target_has_one_outcome(dsn: str, expected: Counter[str]) -> None:
    outcomes = await fetch(
        dsn, "SELECT position, 'message' AS kind FROM messages UNION ALL SELECT position, reason FROM exclusions"
    )
    assert sorted(row["position"] for row in outcomes) == list(range(1, TARGETS + 1))
    assert Counter(row["kind"] for row in outcomes) == expected
    (states,) = await fetch(
        dsn,
        "SELECT count(*) AS n FROM message_state s FULL JOIN messages m ON m.id = s.message_id "
        "WHERE s.message_id IS NULL OR m.id IS NULL",
    )
    assert states["n"] == 0
