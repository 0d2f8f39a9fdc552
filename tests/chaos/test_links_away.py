"""Short URLs of every kind lead on while PostgreSQL is away, also from a process that was killed and started again meanwhile."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from .harness import Service, fetch, postgres, say, service, until

HOST = "go.example"
SETTINGS = {"ACUSE_SHORT_HOSTS": HOST, "ACUSE_PUBLIC_URL": "http://acuse.example"}
CONTENT = "Hi {{name}}: https://shop.example/offer and https://shop.example/c/{{code}} STOP"
MESSAGES = 40
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


async def rows_to(acuse: Service, path: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    body = b"\n".join(orjson.dumps(row) for row in rows)
    answer = await acuse.api.post(path, content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code < 300, answer.text[:500]
    return [orjson.loads(line) for line in answer.content.splitlines()]


def tokens_in(text: str) -> list[str]:
    return re.findall(rf"{re.escape(HOST)}/(\w+)", text)


async def started(acuse: Service, *, messages: int = MESSAGES) -> tuple[str, dict[str, str]]:
    """A delivery that was given out, and its tokens with where they lead. Nothing waits after the last text."""
    delivery = await acuse.post(
        "/v1/deliveries",
        {
            "label": "Away",
            "sender": "Acuse",
            "gateway": "away",
            "default_region": "ES",
            "content": CONTENT,
            "tracking": True,
        },
        status=201,
    )
    path = f"/v1/deliveries/{delivery['id']}"
    await rows_to(
        acuse, f"{path}/targets",
        [{"address": f"+346{number:08d}", "params": {"name": "Ana", "code": f"c {number}"}} for number in range(messages)],
    )  # fmt: skip
    leads: dict[str, str] = {}
    made = await acuse.post(
        f"{path}/proofs",
        {"addresses": [{"address": "+34699999999", "params": {"name": "Eva", "code": "p/1"}}]},
        status=201,
    )
    first, second = tokens_in(made["items"][0]["text"])
    leads |= {first: "https://shop.example/offer", second: "https://shop.example/c/p%2F1"}
    await acuse.post(f"{path}/prepare?wait=30", status=202)

    async def prepared() -> bool:
        return bool((await acuse.get(path))["status"] == "prepared")

    await until(prepared, "the delivery is prepared")
    await acuse.post(f"{path}/start")
    lines = (await acuse.api.get(f"{path}/outbox")).content.splitlines()
    for line in map(orjson.loads, lines):
        first, second = tokens_in(line["text"])
        number = int(line["address"][4:])
        leads |= {first: "https://shop.example/offer", second: f"https://shop.example/c/c%20{number}"}
    assert len(leads) == 2 * (messages + 1)
    return str(delivery["id"]), leads


async def elsewhere(acuse: Service) -> dict[str, str]:
    """Links of messages that another system sends, asked for in bulk."""
    delivery = await acuse.post("/v1/deliveries", {"label": "Else", "sender": "Acuse", "gateway": "away"}, status=201)
    rows = [
        {"reference": f"e{n}", "address": f"+3461{n:07d}", "url": f"https://shop.example/e{n % 5}"} for n in range(20)
    ]
    answers = await rows_to(acuse, f"/v1/deliveries/{delivery['id']}/links", rows)
    return {tokens_in(each["short_url"])[0]: row["url"] for each, row in zip(answers, rows, strict=True)}


async def all_lead(acuse: Service, leads: Mapping[str, str], mark: str) -> None:
    """Each at `/r/…` and at the root of the short host."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{acuse.port}", timeout=15, trust_env=False) as client:
        wrong: Counter[Any] = Counter()
        for place, (token, location) in enumerate(leads.items()):
            path, host = (f"/r/{token}", {}) if place % 2 else (f"/{token}", {"Host": HOST})
            headers = {"User-Agent": f"{AGENT} {mark}", "Accept": "text/html", "Accept-Language": "es", **host}
            answer = await client.get(path, headers=headers)
            if (answer.status_code, answer.headers.get("location")) != (302, location):
                wrong[answer.status_code, answer.headers.get("location"), location] += 1
        assert not wrong, f"{wrong.total()} of {len(leads)}: {list(wrong)[:3]}"


async def gateway(acuse: Service) -> None:
    await acuse.post("/v1/gateways", {"key": "away", "kind": "generic", "auth": {"mode": "none"}}, status=201)


async def test_every_kind_of_link_leads_on_after_a_sigkill_and_a_start_without_the_database() -> None:
    with postgres() as database:
        async with service(database.url, **SETTINGS) as acuse:
            await gateway(acuse)
            others = await elsewhere(acuse)
            delivery, leads = await started(acuse)
            await asyncio.to_thread(database.kill)  # right after the last text was given out
            everything = leads | others
            await all_lead(acuse, everything, "before")
            await asyncio.to_thread(acuse.kill)
            acuse.start()
            await acuse.alive()
            await all_lead(acuse, everything, "after")
            wrong = await acuse.api.get("/r/wrongtoken", headers={"Accept-Language": "es"})
            assert wrong.status_code == 404
            await asyncio.to_thread(database.back)
            await acuse.ready()

            async def applied() -> bool:
                rows = await fetch(database.dsn, "SELECT (SELECT count(*) FROM click_inbox) AS n")
                return bool(rows[0]["n"] == 0 and (await acuse.get("/readyz"))["spooled"] == 0)

            await until(applied, "every click is applied")
            rows = await fetch(
                database.dsn,
                "SELECT right(v.agent, 6) AS mark, count(*) AS n FROM clicks c JOIN visitors v ON v.id = c.visitor "
                "GROUP BY 1 ORDER BY 1 DESC",
            )
            assert {row["mark"].strip(): row["n"] for row in rows} == {
                "before": len(everything),
                "after": len(everything),
            }
            assert (await acuse.post(f"/v1/deliveries/{delivery}/recompute"))["drift"] == 0
            say(f"{len(everything)} links, twice")


async def test_another_process_knows_a_link_that_was_given_out_a_tenth_of_a_second_before_the_outage() -> None:
    with postgres() as database:
        async with service(database.url, **SETTINGS) as first, service(database.url, **SETTINGS) as second:
            await gateway(first)
            others = await elsewhere(first)
            _, leads = await started(first, messages=10)
            await asyncio.to_thread(database.kill)
            fixed = {token: location for token, location in leads.items() if location.endswith("/offer")} | others
            await all_lead(second, fixed, "at the other")
            # What is filled for each message comes to other disks behind: until then a page asks again by itself.
            for token in leads.keys() - fixed.keys():
                answer = await second.api.get(f"/r/{token}", headers={"Accept-Language": "es"}, follow_redirects=False)
                assert answer.status_code in (302, 503)
                assert answer.status_code == 302 or (
                    'http-equiv="refresh"' in answer.text and answer.headers["retry-after"]
                )
