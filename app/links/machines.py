"""Is a visit a person's or a machine's? Pure, so that history can be judged again when the rules change.

Every visit is redirected and kept; the verdict only says what it counts as. A person's visit is one against which nothing
speaks. `Visit` holds all that the rules look at and some that they may look at one day, and is what is stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

from app.links.agents import MAX_LENGTH, AgentReason, Device, read

#: Raised by whoever changes a rule, a signature, or the version of `crawlerdetect`: verdicts of other versions are old.
RULES_VERSION = 1
#: A text is not on a phone, read and touched any sooner after it was handed to the gateway.
TOO_SOON_SECONDS = 2.0

Reason = (
    Literal["head", "other_method", "prefetch", "not_a_page", "robot_header", "bare_request", "too_soon"] | AgentReason
)

#: What announces that a browser or a proxy fetches ahead of anybody asking: Chrome and Safari, Firefox, Apple.
_AHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_AHEAD_WORDS = ("prefetch", "prerender", "preview")
#: `via` decides nothing: it names the gateways of companies, which people browse through.
KEPT_HEADERS = (
    *_AHEAD, "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site", "sec-fetch-user", "sec-ch-ua", "accept", "accept-language",
    "from", "via",
)  # fmt: skip
_HEADER_LENGTH = 200
_KEPT = {name.encode(): name for name in KEPT_HEADERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    method: str = "GET"
    #: At most 512 characters count.
    agent: str = ""
    #: Those of `KEPT_HEADERS` that were sent, by these names; None when nobody kept them.
    headers: Mapping[str, str] | None = None
    #: Since the message was handed to its gateway. None when unknown. Negative where our clocks disagree, or where the
    #: text was sent elsewhere and reported here late: then it says nothing.
    seconds_since_submission: float | None = None

    @classmethod
    def of(
        cls, method: str, headers: Iterable[tuple[bytes, bytes]], seconds_since_submission: float | None = None
    ) -> Self:
        """Of a request as ASGI hands it over: names in lower case. What is kept is cropped, and free of NUL."""
        agent = ""
        kept: dict[str, str] = {}
        for name, value in headers:
            if name == b"user-agent":
                agent = value[:MAX_LENGTH].decode("latin-1").replace("\0", "")
            elif name in _KEPT:
                kept[_KEPT[name]] = value[:_HEADER_LENGTH].decode("latin-1").replace("\0", "")
        return cls(method=method, agent=agent, headers=kept, seconds_since_submission=seconds_since_submission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    human: bool
    #: Stable slugs of all that speaks for a machine, always in the same order.
    reasons: tuple[Reason, ...]
    device: Device


def judge(visit: Visit) -> Verdict:
    agent = read(visit.agent[:MAX_LENGTH])
    reasons: list[Reason] = []
    if visit.method != "GET":
        reasons.append("head" if visit.method == "HEAD" else "other_method")
    if visit.headers is not None:
        reasons += _by_headers(visit.headers, claims_browser=agent.reason is None)
    if agent.reason is not None and agent.reason not in reasons:
        reasons.append(agent.reason)
    if visit.seconds_since_submission is not None and 0 <= visit.seconds_since_submission < TOO_SOON_SECONDS:
        reasons.append("too_soon")
    return _verdict(tuple(reasons), agent.device)


@lru_cache(maxsize=1024)
def _verdict(reasons: tuple[Reason, ...], device: Device) -> Verdict:
    return Verdict(human=not reasons, reasons=reasons, device=device)


def _by_headers(headers: Mapping[str, str], *, claims_browser: bool) -> list[Reason]:
    get = headers.get
    reasons: list[Reason] = []
    for name in _AHEAD:
        value = get(name)
        if value and any(word in value.lower() for word in _AHEAD_WORDS):
            reasons.append("prefetch")
            break
    # A touch on a link opens a page; pictures, scripts and frames open by themselves.
    if (
        get("sec-fetch-mode", "navigate").lower() != "navigate"
        or get("sec-fetch-dest", "document").lower() != "document"
    ):
        reasons.append("not_a_page")
    if "from" in headers:  # robots leave an address for complaints; browsers have not sent one since the nineties
        reasons.append("robot_header")
    if "headless" in get("sec-ch-ua", "").lower():
        reasons.append("headless")
    # Every browser says what and which languages it takes; a client that says neither only borrows an agent.
    if claims_browser and not get("accept") and not get("accept-language"):
        reasons.append("bare_request")
    return reasons
