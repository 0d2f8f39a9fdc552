"""Machines are told from people, and nobody is called a machine for the app that a link was opened in."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from time import thread_time
from timeit import repeat

import pytest
from crawlerdetect import CrawlerDetect
from hypothesis import example, given
from hypothesis import strategies as st

from app.links import agents
from app.links.machines import KEPT_HEADERS, TOO_SOON_SECONDS, Reason, Visit, judge
from tests.links.known_agents import ANDROID_CHROME, IMESSAGE, IPHONE_SAFARI, MACHINES, PEOPLE, WINDOWS_CHROME

BROWSERS = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "es-ES,es;q=0.9",
}
NAVIGATION = {
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-site": "none",
    "sec-fetch-user": "?1",
}
ALL_AGENTS = [agent for _, agent, *_ in MACHINES] + [agent for _, agent, *_ in PEOPLE]
AGENTS = st.one_of(
    st.sampled_from(ALL_AGENTS),
    st.text(),
    st.lists(st.sampled_from([*ALL_AGENTS, "bot", "(", "\0", "é"])).map(" ".join),
)
HEADERS = st.none() | st.dictionaries(
    st.sampled_from(KEPT_HEADERS), st.text() | st.sampled_from(["navigate", "prefetch", ""])
)


def reasons(**visit: object) -> tuple[Reason, ...]:
    verdict = judge(Visit(**{"agent": IPHONE_SAFARI, **visit}))  # type: ignore[arg-type]
    assert verdict.human == (not verdict.reasons)
    return verdict.reasons


@pytest.mark.parametrize(
    ("agent", "reason", "device"), [pytest.param(*each[1::2], each[4], id=each[0]) for each in MACHINES]
)
def test_known_previews_scanners_and_programs_are_machines(agent: str, reason: Reason, device: str) -> None:
    verdict = judge(Visit(agent=agent, headers=BROWSERS, seconds_since_submission=3_600))
    assert (verdict.human, verdict.reasons, verdict.device) == (False, (reason,), device)


@pytest.mark.parametrize(("agent", "device"), [pytest.param(*each[1::2], id=each[0]) for each in PEOPLE])
def test_browsers_of_phones_tablets_desktops_and_apps_are_human(agent: str, device: str) -> None:
    for headers in (None, BROWSERS, BROWSERS | NAVIGATION):
        verdict = judge(Visit(agent=agent, headers=headers, seconds_since_submission=3_600))
        assert (verdict.human, verdict.reasons, verdict.device) == (True, (), device)


def test_enough_agents_are_known() -> None:
    assert len({agent for _, agent, source, *_ in MACHINES if source != "made up"}) >= 45
    assert len({agent for _, agent, *_ in PEOPLE}) >= 45


@pytest.mark.parametrize(("name", "agent"), [each[:2] for each in [*PEOPLE, ("Apple Messages", IMESSAGE)]])
def test_head_is_a_machines_whatever_the_agent(name: str, agent: str) -> None:
    verdict = judge(Visit(method="HEAD", agent=agent, headers=BROWSERS | NAVIGATION))
    assert not verdict.human
    assert verdict.reasons[0] == "head"


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "get", "", "POST"])
def test_nobody_browses_with_other_methods(method: str) -> None:
    assert reasons(method=method) == ("other_method",)


@pytest.mark.parametrize("agent", [each[1] for each in PEOPLE])
@pytest.mark.parametrize(
    "header",
    [
        ("purpose", "prefetch"), ("Purpose".lower(), "Prefetch"), ("sec-purpose", "prefetch;prerender"), ("x-moz", "prefetch"),
        ("sec-purpose", "prefetch;anonymous-client-ip"), ("x-purpose", "preview"), ("purpose", " preview "),
    ],
)  # fmt: skip
def test_fetching_ahead_is_a_machines_whatever_the_agent(agent: str, header: tuple[str, str]) -> None:
    assert judge(Visit(agent=agent, headers=BROWSERS | NAVIGATION | dict([header]))).reasons == ("prefetch",)


@pytest.mark.parametrize("value", ["", "none", "navigation", "instant", "-", "\0", "前", "pre fetch", "," * 5_000])
def test_odd_purposes_say_nothing(value: str) -> None:
    assert reasons(headers=BROWSERS | {"purpose": value, "sec-purpose": value}) == ()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, ("not_a_page",)),
        ({"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, ("not_a_page",)),
        ({"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, ("not_a_page",)),
        ({"sec-fetch-mode": "Navigate", "sec-fetch-dest": "Document"}, ()),
        ({"sec-fetch-dest": "document"}, ()),
        ({"from": "googlebot(at)googlebot.com"}, ("robot_header",)),
        ({"sec-ch-ua": '"HeadlessChrome";v="120", "Chromium";v="120"'}, ("headless",)),
        ({"sec-ch-ua": '"Google Chrome";v="120", "Chromium";v="120"'}, ()),
        ({"via": "1.1 barracuda.example (http_scan_byf/3.5)"}, ()),
    ],
)
def test_headers_that_only_machines_send_are_reasons(headers: dict[str, str], expected: tuple[str, ...]) -> None:
    assert reasons(headers=BROWSERS | headers) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ("bare_request",)),
        ({"accept": "", "accept-language": ""}, ("bare_request",)),
        ({"accept": "*/*"}, ()),  # not enough to take a click away from somebody
        ({"accept-language": "es"}, ()),
        (None, ()),
    ],
)
def test_a_library_that_borrows_a_browsers_agent_is_found_by_what_it_forgets(
    headers: dict[str, str] | None, expected: tuple[str, ...]
) -> None:
    assert reasons(headers=headers) == expected
    assert reasons(headers=headers, agent="curl/8.7.1") == ("tool_agent",)  # which borrows nothing


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, ("too_soon",)), (0.5, ("too_soon",)), (TOO_SOON_SECONDS - 0.001, ("too_soon",)), (TOO_SOON_SECONDS, ()), (86_400, ()),
        (None, ()), (-0.001, ()), (-3_600, ()), (nan, ()), (inf, ()),
    ],
)  # fmt: skip
def test_nobody_touches_a_link_within_two_seconds_of_sending(seconds: float | None, expected: tuple[str, ...]) -> None:
    assert reasons(seconds_since_submission=seconds) == expected


def test_all_reasons_are_given_always_in_the_same_order_and_each_once() -> None:
    headers = {"from": "a@b.example", "sec-fetch-dest": "image", "purpose": "prefetch", "sec-ch-ua": "HeadlessChrome"}
    everything = Visit(method="HEAD", agent="HeadlessChrome", headers=headers, seconds_since_submission=1)
    expected = ("head", "prefetch", "not_a_page", "robot_header", "headless", "too_soon")
    assert judge(everything).reasons == expected
    assert judge(replace(everything, headers=dict(reversed(headers.items())))).reasons == expected


def test_a_browser_in_an_app_does_not_hide_a_crawler() -> None:
    for name in ("Instagram 389.0.0.49.87 Android", "[WA4A/2.25.32.75;]", "Line/14.9.0", "[FBAN/FBIOS;FBAV/480.0]"):
        for crawler in (
            "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "facebookexternalhit/1.1",
            "HeadlessChrome",
        ):
            assert judge(Visit(agent=f"{ANDROID_CHROME} {name} {crawler}")).human is False


def test_the_word_of_a_crawler_in_a_campaign_or_a_model_does_not_make_a_browser_in_an_app_a_machine() -> None:
    agent = f"{ANDROID_CHROME.replace('; K)', '; Buddy IOI 4)')} Instagram 389.0.0.49.87"
    assert CrawlerDetect().is_crawler(agent)
    assert judge(Visit(agent=agent)).human


@pytest.mark.parametrize("agent", ALL_AGENTS)
def test_the_second_opinion_is_crawlerdetects_own(agent: str) -> None:
    found = agents._THEIR_CRAWLERS.search(agents._THEIR_EXCLUSIONS.sub("", agent.strip().lower()))
    assert (found is not None) == CrawlerDetect().is_crawler(agent)


@given(
    st.lists(
        st.sampled_from(["bot", "x-bot", "Spider", "IOI", "Mozilla/5.0", " ", "; ", "CUBOT", "fetcher/", "-", "java"]),
        max_size=12,
    )
)
def test_the_second_opinion_is_crawlerdetects_own_on_anything(pieces: list[str]) -> None:
    agent = "".join(pieces).strip()
    found = agents._THEIR_CRAWLERS.search(agents._THEIR_EXCLUSIONS.sub("", agent.lower()))
    assert (found is not None) == CrawlerDetect().is_crawler(agent)


@given(st.text(max_size=12), AGENTS, HEADERS, st.none() | st.floats())
@example("GET", "bot " * 1_000, {}, -0.0)
def test_judging_never_raises_and_says_the_same_twice(
    method: str, agent: str, headers: dict[str, str] | None, seconds: float | None
) -> None:
    visit = Visit(method=method, agent=agent, headers=headers, seconds_since_submission=seconds)
    assert judge(visit) == judge(visit)
    assert judge(visit).human == (not judge(visit).reasons)


def test_what_stands_behind_512_characters_of_an_agent_does_not_count() -> None:
    assert judge(Visit(agent=WINDOWS_CHROME + " " * 512 + "Googlebot")).human


def test_a_request_becomes_a_visit_with_what_the_rules_look_at_and_no_more() -> None:
    request = [
        (b"host", b"go.example"),
        (b"user-agent", IPHONE_SAFARI.encode()),
        (b"accept", b"text/html"),
        (b"accept-language", b"es" * 500),
        (b"cookie", b"secret"),
        (b"from", b"\xff\0a"),
    ]
    visit = Visit.of("GET", request, 12.5)
    assert visit == Visit(
        method="GET",
        agent=IPHONE_SAFARI,
        headers={"accept": "text/html", "accept-language": "es" * 100, "from": "ÿa"},
        seconds_since_submission=12.5,
    )
    assert Visit.of("HEAD", []) == Visit(method="HEAD", headers={})
    assert len(Visit.of("GET", [(b"user-agent", b"x" * 4_096)]).agent) == 512


@given(
    st.lists(
        st.tuples(st.sampled_from([name.encode() for name in KEPT_HEADERS] + [b"user-agent", b"x"]), st.binary()),
        max_size=8,
    )
)
def test_any_request_becomes_a_visit_that_postgres_can_keep(headers: list[tuple[bytes, bytes]]) -> None:
    visit = Visit.of("GET", headers)
    assert "\0" not in visit.agent + "".join((visit.headers or {}).values())
    judge(visit)


def quickest(action: Callable[[], object], number: int) -> float:
    """Seconds of the processor for one, of the best of many runs: others share the processors."""
    return min(repeat(action, timer=thread_time, number=number, repeat=10)) / number


def test_an_agent_that_was_seen_before_costs_microseconds() -> None:
    visit = Visit(agent=IPHONE_SAFARI, headers=BROWSERS | NAVIGATION, seconds_since_submission=60)
    assert quickest(lambda: judge(visit), 2_000) < 15e-6  # 2 µs where nobody else works


@pytest.mark.parametrize(
    "agent",
    [
        "a" * 4_096, "ab " * 1_365, "9.;/ " * 800, "http/" * 800, "android mobi " * 300,
        "mozilla/5.0 (" + "l" * 4_000, "\0" * 4_096,
        "bot " * 1_000, "mozilla/5.0 (" + "fban" * 1_000, "cpu iphone os " + "0_" * 2_000, "newsblur " * 400, "é" * 4_096,
    ],
    ids=lambda agent: agent[:20],
)  # fmt: skip
def test_a_hostile_agent_costs_a_millisecond(agent: str) -> None:
    assert quickest(lambda: agents.read.__wrapped__(agent), 5) < 4e-3  # below 0.8 ms where nobody else works
