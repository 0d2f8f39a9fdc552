"""What is attacked: gateways, deliveries and keys of the attack's own, in an installation of one's own, and tidied up again.

All names begin with `attack-` and a random mark. Numbers are of the range that no phone has (Ofcom's numbers for drama).
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from tests.adversary.wire import Door

#: The first signs with SHA-1, as Twilio always has; the second names its algorithm.
TWILIO_SECRETS = ("attack-twilio-0123456789", "sha256:attack-twilio-9876543210")
_PATIENCE_SECONDS = 60.0


def number(place: int) -> str:
    """An address that nobody has; a thousand of them."""
    return f"+447700900{place % 1_000:03d}"


@dataclass
class Target:
    """`names` fills the placeholders of the tables' paths and bodies: `{delivery}`, `{generic}`, `{token}` and so on."""

    door: Door
    api: httpx.AsyncClient
    key: str
    mark: str = field(default_factory=lambda: f"attack-{secrets.token_hex(4)}")
    names: dict[str, str] = field(default_factory=dict)
    #: Headers of keys by what they may.
    keys: dict[str, str] = field(default_factory=dict)

    def filled(self, text: str) -> str:
        """`text` with its placeholders filled; braces that are none stay as they are."""
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text

    async def get(self, path: str, key: str = "admin") -> Any:
        return _good(await self.api.get(self.filled(path), headers={"Authorization": f"Bearer {self.keys[key]}"}))

    async def post(self, path: str, body: Any = None) -> Any:
        return _good(await self.api.post(self.filled(path), json=body))

    async def post_rows(self, path: str, rows: list[bytes]) -> Any:
        """NDJSON; every row must be taken."""
        headers = {"Content-Type": "application/x-ndjson"}
        tally = _good(await self.api.post(self.filled(path), content=b"\n".join(rows), headers=headers))
        assert tally["accepted"] == len(rows), tally
        return tally


def _good(answer: httpx.Response) -> Any:
    assert answer.status_code < 300, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:300]}"
    )
    return answer.json() if answer.content else None


@contextlib.asynccontextmanager
async def target(url: str, key: str, *, twilio: str = "signature") -> AsyncIterator[Target]:
    """Everything that the tables need; `twilio`: the mode of that gateway. At the end it is gone, as far as an installation
    forgets."""
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE_SECONDS, trust_env=False
    ) as api:
        found = Target(Door.of(url), api, key)
        found.keys["admin"] = key
        try:
            await _make(found, twilio)
            yield found
        finally:
            with contextlib.suppress(httpx.TransportError):  # of a service that did not survive
                await _tidy(found)


async def _make(target: Target, twilio_mode: str) -> None:
    names = target.names
    names |= {
        "mark": target.mark,
        "key": target.key,
        "token": secrets.token_urlsafe(24),
        "host": f"{target.door.host}:{target.door.port}",
    }
    for kind in ("generic", "kannel", "smpp"):
        auth = {"mode": "token", "secrets": [names["token"]]}
        names[kind] = (await target.post("/v1/gateways", {"key": f"{target.mark}-{kind}", "kind": kind, "auth": auth}))[
            "key"
        ]
    auth = {"mode": twilio_mode, "secrets": [*TWILIO_SECRETS] if twilio_mode == "signature" else [names["token"]]}
    twilio = await target.post("/v1/gateways", {"key": f"{target.mark}-twilio", "kind": "twilio", "auth": auth})
    names |= {"twilio": twilio["key"], "public": twilio["callback_url"].partition("/callbacks/")[0]}
    for name in ("delivery", "audience", "steady"):
        body = {
            "label": f"{target.mark} {name}",
            "sender": "Acuse",
            "gateway": names["generic"],
            "content": "Hello {{name}}",
        }
        names[name] = (await target.post("/v1/deliveries", body))["id"]
    for scope in ("deliveries:read", "quarantine:read", "receipts:write"):
        wanted = {"name": f"{target.mark}-{scope.replace(':', '-')}", "scopes": [scope]}
        target.keys[scope] = (await target.post("/v1/keys", wanted))["secret"]
    await _make_messages(target)


async def _make_messages(target: Target) -> None:
    """Those that submissions speak of, known by their references; and one link, where the installation has a host for it."""
    rows = [b'{"address":"%s","reference":"s%d"}' % (number(place).encode(), place) for place in range(1_000)]
    await target.post_rows("/v1/deliveries/{delivery}/messages", rows)
    await target.post_rows(
        "/v1/deliveries/{delivery}/messages", [b'{"address":"+447700900999","provider_message_id":"large"}']
    )
    found = await target.get("/v1/deliveries/{delivery}/messages?address=%2B447700900999&limit=1")
    target.names["large"] = found["items"][0]["id"]
    row = orjson.dumps({"reference": "clicked", "address": number(0), "url": "https://shop.example/"})
    headers = {"Content-Type": "application/x-ndjson"}
    path = target.filled("/v1/deliveries/{delivery}/links")
    link = await target.api.post(path, content=row, headers=headers)
    if link.status_code == 200:
        target.names["short"] = "/r/" + link.json()["short_url"].rpartition("/")[2]


async def _tidy(target: Target) -> None:
    """Nobody waits for what cannot be taken away: facts stay, under the attack's name."""
    for name in ("delivery", "audience", "steady"):
        if name in target.names:
            await target.api.post(target.filled(f"/v1/deliveries/{{{name}}}/cancel"))
    for kind in ("generic", "kannel", "smpp", "twilio"):
        if kind in target.names:
            await target.api.delete(f"/v1/gateways/{target.names[kind]}", params={"force": "true"})
    for scope in target.keys.keys() - {"admin"}:
        await target.api.delete(f"/v1/keys/{target.mark}-{scope.replace(':', '-')}")
    for place in range(20):
        await target.api.delete(f"/v1/quarantine/{number(place)}", params={"reason": "attack over"})
