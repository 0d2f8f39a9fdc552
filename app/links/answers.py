"""What a link answers: the redirect made once, or the template that is filled for each message."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.links import destinations as targets
from app.logs import log
from app.server.whole import Whole

#: No cookie, no cache, no search engine; the target's host hears nothing of where the visitor comes from.
_ALWAYS = [
    (b"cache-control", b"no-store"),
    (b"x-robots-tag", b"noindex"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-length", b"0"),
]


def moved_to(location: str) -> Whole:
    """The answer that leads to `location`, which `targets` has checked: ASCII without blanks or control characters."""
    return Whole.of(302, [(b"location", location.encode("ascii")), *_ALWAYS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    #: The redirect; None for a URL that is made for each message, or that nobody may be led to.
    answer: Whole | None
    #: With placeholders, the link's own parameters in it.
    template: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A delivery's links by number, and until when (seconds since 1970) they lead anywhere."""

    delivery_id: int
    started_at: float | None
    ends_at: float
    links: Mapping[int, Link]

    def names(self) -> frozenset[str]:
        """Of all values that fill its links."""
        return frozenset(name for link in self.links.values() if link.template for name in targets.names(link.template))


@lru_cache(maxsize=20_000)  # the same ones are read again and again
def link_to(source_url: str, template: bool, added: tuple[tuple[str, str], ...]) -> Link:
    params = dict(added)
    url = f"http://{source_url}" if source_url[:4].lower() == "www." else source_url
    try:
        if template:
            return Link(answer=None, template=targets.with_params(url, params))
        return Link(answer=moved_to(_checked(url, params)), template=None)
    except targets.Refused as refused:  # it was registered by a version that knew less
        log.error("links.target_refused", reason=str(refused))
        return Link(answer=None, template=None)


def _checked(url: str, params: Mapping[str, str]) -> str:
    return targets.check(targets.with_params(targets.check(url), params))


def filled(template: str, params: Mapping[str, Any]) -> Whole | None:
    values = {name: str(value) for name, value in params.items() if isinstance(value, str | int | float)}
    try:
        return moved_to(targets.fill(template, values))
    except targets.Refused:
        return None
