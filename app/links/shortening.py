"""Short URLs: `{short base}/{token}`. What others need to make texts comes from here.

The base is the first host of `ACUSE_SHORT_HOSTS` that is the sender's own, else the first that is anybody's, with `https://`:
without a scheme some phones show no link. Without such a host it is `ACUSE_PUBLIC_URL` and `/r`, and without that the address
listened on, which is good for trying out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from starlette.requests import HTTPConnection

from app.db import Connection
from app.links import registering
from app.links import signing as token_keys
from app.links.registering import QUERIES, NotTaken, longest_error
from app.links.tokens import Keys, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """What short URLs begin with, by sender (in lower case; '' for all others)."""

    by_sender: Mapping[str, str]
    #: All hosts, whoever sends.
    hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, short_hosts: Iterable[str], public_base: str | None, listened_url: str | None = None) -> Self:
        """`short_hosts`: each a host, or `sender=host`."""
        found: dict[str, str] = {}
        hosts: list[str] = []
        for entry in short_hosts:
            sender, _, host = entry.rpartition("=")
            hosts.append(host)
            found.setdefault(sender.strip().lower(), f"https://{host.strip().lower()}")
        if (base := public_base or listened_url) is not None:
            found.setdefault("", f"{base}/r")
        return cls(by_sender=found, hosts=tuple(hosts))

    def for_sender(self, sender: str) -> str | None:
        return self.by_sender.get(sender.lower()) or self.by_sender.get("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortener:
    """Makes the short URLs of one delivery."""

    base: str
    #: Of the links that become short URLs, by how they stand in the content.
    numbers: Mapping[str, int]
    _keys: Keys = field(repr=False)

    def url(self, message_id: int, number: int) -> str:
        return f"{self.base}/{encode(self._keys, message_id, number)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Takes open transactions, and leaves the commit to their owners."""

    bases: Bases
    #: Whether links may lead to this machine or a private network.
    private_links: bool = False

    async def register(
        self, connection: Connection, delivery_id: int, urls: Sequence[str], *, tracked: bool
    ) -> Sequence[NotTaken]:
        """See `registering.register`."""
        return await registering.register(connection, delivery_id, urls, tracked=tracked)

    async def follow_tracking(self, connection: Connection, delivery_id: int, *, tracked: bool) -> None:
        """The delivery's own switch was turned: it holds for all its links."""
        await connection.execute(QUERIES["follow_tracking"], delivery_id, tracked)

    async def tracked(self, connection: Connection, delivery_id: int) -> Mapping[str, int]:
        """The links in the content that are tracked, with their numbers."""
        rows = await connection.fetch(QUERIES["list_tracked_links"], delivery_id)
        return {row["source_url"]: row["number"] for row in rows}

    async def shortener(self, connection: Connection, delivery_id: int, sender: str) -> Shortener | None:
        """None when no link of the content is tracked, or short URLs have no base."""
        base = self.bases.for_sender(sender)
        numbers = await self.tracked(connection, delivery_id) if base is not None else {}
        if base is None or not numbers:
            return None
        return Shortener(base=base, numbers=numbers, _keys=await self.keys(connection))

    async def keys(self, connection: Connection) -> Keys:
        return await token_keys.load(connection) or await token_keys.install(connection)

    async def add_blocks(self, connection: Connection, delivery_id: int, message_ids: Sequence[int]) -> None:
        """See `registering.add_blocks`; those that have one are passed over."""
        rows = await connection.fetch(QUERIES["find_without_block"], message_ids)
        await registering.add_blocks(connection, delivery_id, [row["id"] for row in rows])

    async def add_block(self, connection: Connection, delivery_id: int, first_id: int, last_id: int) -> None:
        """All messages from `first_id` to `last_id` are those of the delivery."""
        await connection.execute(QUERIES["add_block"], first_id, last_id, delivery_id)

    async def unfit(self, connection: Connection, delivery_id: int, longest: Mapping[str, str]) -> Sequence[NotTaken]:
        """Tracked links that would lead nowhere with the longest values of the audience."""
        rows = await connection.fetch(QUERIES["list_links"], delivery_id)
        templates = [row for row in rows if row["in_content"] and row["tracked"] and row["template"]]
        found = [(row["source_url"], longest_error(row["source_url"], row["params"], longest)) for row in templates]
        return [NotTaken(url=url, code="link_too_long", text=text) for url, text in found if text]


def links_of(connection: HTTPConnection) -> Links:
    found: Links = connection.app.state.links
    return found
