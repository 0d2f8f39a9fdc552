"""A STOP that comes while PostgreSQL is away is kept, answered, and heard once the database is back."""

import asyncio
from urllib.parse import urlencode

from .harness import Service, fetch, postgres, service, spool_rows, until

TOKEN = {"X-Acuse-Token": "token-of-the-gateway"}
PHONES = [f"+346008{number:05d}" for number in range(20)]
TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response><Message>You get no more.</Message></Response>'


async def test_replies_are_taken_and_answered_while_postgresql_is_away_also_when_the_service_dies_meanwhile() -> None:
    with postgres() as database:
        async with service(database.url) as acuse:
            for key, kind in (("acme", "generic"), ("twilio-1", "twilio")):
                auth = {"mode": "token", "secrets": list(TOKEN.values())}
                await acuse.post("/v1/gateways", {"key": key, "kind": kind, "auth": auth}, status=201)
            rules = {"rules": [{"keyword": "STOP", "action": "denylist", "reply": "You get no more."}]}
            answer = await acuse.api.put("/v1/gateways/twilio-1/reply-rules", json=rules)
            assert answer.status_code == 200
            await asyncio.to_thread(database.kill)
            await until(lambda: _is_away(acuse), "the service knows that the database is away")

            for number, phone in enumerate(PHONES[:-1]):
                body = {"type": "inbound", "from": phone, "text": "STOP", "provider_message_id": f"mo-{number}"}
                for _ in range(2):  # the gateway sends each twice
                    assert (await acuse.api.post("/callbacks/acme", json=body, headers=TOKEN)).status_code == 200
            form = {"MessageSid": "SM1", "SmsStatus": "received", "From": PHONES[-1], "Body": "stop it"}
            answer = await acuse.api.post("/callbacks/twilio-1", content=urlencode(form), headers=TOKEN)
            assert (answer.status_code, answer.text) == (200, TWIML)
            assert spool_rows(acuse.data_dir) == 2 * len(PHONES) - 1

            acuse.kill()
            await asyncio.to_thread(database.back)
            acuse.start()
            await acuse.ready()

            async def heard() -> bool:
                (row,) = await fetch(database.dsn, "SELECT count(*) AS n FROM inbound WHERE applied_at IS NOT NULL")
                return int(row["n"]) == 2 * len(PHONES) - 1 and spool_rows(acuse.data_dir) == 0

            await until(heard, "every reply is heard")
            (row,) = await fetch(database.dsn, "SELECT count(*) AS n, count(repeat_of) AS again FROM inbound")
            assert (row["n"], row["again"]) == (2 * len(PHONES) - 1, len(PHONES) - 1)
            found = await fetch(database.dsn, "SELECT address, status::text AS status, origin FROM quarantine")
            assert {tuple(each) for each in found} == {(phone, "denylisted", "reply") for phone in PHONES}


async def _is_away(acuse: Service) -> bool:
    return not (await acuse.get("/readyz"))["database"]
