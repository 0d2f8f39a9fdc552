"""Links as phones find them: where each begins, and above all where it ends."""

from itertools import pairwise
from time import perf_counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.texts.hosts import private_reach
from app.texts.urls import PUBLIC_SHORTENERS, blanked, find_links, other_schemes, public_shorteners
from tests.links.cases import cases

#: What links are made of, and what ends them, close together.
PIECES = [
    "http://", "https://", "HTTPS://", "www.", "ftp://", "a.es", "ñ.es", "[::1]", ":80", "/", "?q=", "#", "@", "{{a}}", "{{ a }}",
    "{{", "}}", "(", ")", "[", "]", "{", "}", ".", ",", "!", "…", "»", "”", "'", '"', "<", " ", "\n", "¿", "\\", "\u200b",
    "\u202e", "x", "+", "-", "é", "😀", "。", "看", "ж", "،", "\ufe0f", "1",
]  # fmt: skip
LINKISH = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
AROUND = [
    ("", ""),
    ("Ver ", " hoy"),
    ("(", ")"),
    ("«", "»"),
    ("“", "”"),
    ('"', '"'),
    ("'", "'"),
    ("¡", "!"),
    ("<", ">"),
]
AROUND += [
    ("¿Ya? ", "?"),
    ("[", "]."),
    ("{", "}"),
    ("Info:", "..."),
    ("…", "…"),
    ("(¡", "!)."),
    ("\n", "\n"),
    ("_", "\t"),
]
AROUND += [("请看", "，谢谢"), ("{{x}}", ";"), ("a, ", ", b"), ("\u200b", "\u200b")]


def texts(content: str) -> list[str]:
    return [link.text for link in find_links(content)]


@pytest.mark.parametrize(
    ("link", "url", "host"),
    [
        ("http://a.es", "http://a.es", "a.es"),
        ("https://a.es/", "https://a.es/", "a.es"),
        ("HTTP://A.es/Path", "http://A.es/Path", "a.es"),
        ("hTTpS://a.es", "https://a.es", "a.es"),
        ("www.a.es", "http://www.a.es", "www.a.es"),
        ("WWW.A.es/B", "http://WWW.A.es/B", "www.a.es"),
        ("www.a.es:8080?x", "http://www.a.es:8080?x", "www.a.es"),
        ("https://a.es:8443/b/c.html?d=1&e=%20#f", "https://a.es:8443/b/c.html?d=1&e=%20#f", "a.es"),
        ("https://a.es?d=1", "https://a.es?d=1", "a.es"),
        ("https://a.es#f", "https://a.es#f", "a.es"),
        ("https://localhost:8000/x", "https://localhost:8000/x", "localhost"),
        ("https://192.0.2.1/x", "https://192.0.2.1/x", "192.0.2.1"),
        ("http://[2001:DB8::1]:8080/x", "http://[2001:DB8::1]:8080/x", "[2001:db8::1]"),
        ("http://[::ffff:192.0.2.1]", "http://[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"),
        ("https://www.Español.es/baja", "https://www.Español.es/baja", "www.español.es"),
        ("https://उदाहरण.भारत/x", "https://उदाहरण.भारत/x", "उदाहरण.भारत"),
        ("https://xn--espaol-zwa.es", "https://xn--espaol-zwa.es", "xn--espaol-zwa.es"),
        ("https://a_b-c.es/~d/e'f/g,h;i=j!k*l+m$", "https://a_b-c.es/~d/e'f/g,h;i=j!k*l+m$", "a_b-c.es"),
        ("https://a.es/b(c)/[d]/{e}", "https://a.es/b(c)/[d]/{e}", "a.es"),
        ("https://es.wikipedia.org/wiki/Sol_(astro)", "https://es.wikipedia.org/wiki/Sol_(astro)", "es.wikipedia.org"),
        ("https://a.es/?u=https://b.es/c", "https://a.es/?u=https://b.es/c", "a.es"),
        ("https://a.es/{{code}}", "https://a.es/{{code}}", "a.es"),
        ("https://a.es/?c={{ the.code }}&d={{d}}", "https://a.es/?c={{ the.code }}&d={{d}}", "a.es"),
        ("https://{{shop}}.a.es/x", "https://{{shop}}.a.es/x", "{{shop}}.a.es"),
        ("www.{{shop}}.es/x", "http://www.{{shop}}.es/x", "www.{{shop}}.es"),
    ],
)
def test_a_link_is_found_whole_in_any_surroundings(link: str, url: str, host: str) -> None:
    for before, after in AROUND:
        (found,) = find_links(before + link + after)
        assert (found.text, found.url, found.host, found.userinfo) == (link, url, host, False)
        assert (found.start, found.end) == (len(before), len(before) + len(link))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("https://a.es.", ["https://a.es"]),
        ("https://a.es/?", ["https://a.es/"]),
        ("https://a.es/b?!…;:,.", ["https://a.es/b"]),
        ("https://a.es/b).", ["https://a.es/b"]),
        ("https://a.es/(b)).", ["https://a.es/(b)"]),
        ("https://a.es/(b).)", ["https://a.es/(b)"]),
        ("https://a.es/{{b}}).", ["https://a.es/{{b}}"]),
        ("https://a.es/{{b}}}", ["https://a.es/{{b}}"]),
        ("https://a.es:", ["https://a.es"]),
        ("https://a.es: ya", ["https://a.es"]),
        ("https://a.es:123456/x", ["https://a.es"]),
        ("https://a.es¿b", ["https://a.es"]),
        ("https://a.es/b¡c", ["https://a.es/b"]),
        ('https://a.es/b"c', ["https://a.es/b"]),
        ("https://a.es/b<c>", ["https://a.es/b"]),
        ("https://a.es/b»c", ["https://a.es/b"]),
        ("https://a.es\\@b.es", ["https://a.es"]),
        ("https://a.es/\u202eb", ["https://a.es/"]),
        ("https://a.es/\u200bb", ["https://a.es/"]),
        ("https://a。es/b", ["https://a"]),
        ("info.https://a.es", ["https://a.es"]),
        ("www.{{shop}}, www.{{shop}}/x", ["www.{{shop}}", "www.{{shop}}/x"]),
        ("https://a.es,https://b.es", ["https://a.es", "https://b.es"]),
        ("https://a.es|www.b.es", ["https://a.es", "www.b.es"]),
        ("https://a.es https://b.es\nwww.c.es", ["https://a.es", "https://b.es", "www.c.es"]),
        ("{{x}}https://a.es", ["https://a.es"]),
        ("https://a.es/a}{{b}}", ["https://a.es/a}{{b}}"]),
        ("https://a.es/{{{ b }}", ["https://a.es/{{{"]),
        ("https://a.es/{{b c}}", ["https://a.es/{{b"]),
    ],
)
def test_where_a_link_ends(content: str, found: list[str]) -> None:
    assert texts(content) == found


@pytest.mark.parametrize(("content", "found"), cases("ends", "content", "links"))
def test_a_link_ends_where_its_script_does(content: str, found: list[str]) -> None:
    assert texts(content) == found


@pytest.mark.parametrize("many", [1, 20, 60, 300])
@pytest.mark.parametrize("begin", ["https://a.es/?", "www.a.es/?", "https://" + "a" * 2_040 + ".es/?"])
def test_a_link_is_whole_however_long_it_is(begin: str, many: int) -> None:
    link = begin + "&".join(f"p{number}={{{{p{number} | no value}}}}" for number in range(many))
    assert texts(f"{link}, 看 {link} www.b.es") == [link, link, "www.b.es"]
    assert texts(f"{link}查看")[0] == link


def test_another_scheme_and_a_shortener_end_and_begin_there_as_well() -> None:
    assert [each.text for each in other_schemes("打开myapp://open/x查看")] == ["myapp://open/x"]
    assert public_shorteners("点击bit.ly/3abc查看", []) == ["bit.ly"]


@pytest.mark.parametrize(("link", "reach"), cases("private", "link", "reach"))
def test_a_link_to_this_machine_or_a_private_network_is_known(link: str, reach: str | None) -> None:
    (found,) = find_links(link)
    assert private_reach(found.host) == reach


@pytest.mark.parametrize("host", ["1" * 50_000 + "g", "0x" * 25_000 + "g", "1." * 25_000 + "g", "1.0x" * 10_000 + "g"])
def test_a_host_of_many_digits_is_no_address_and_takes_no_time(host: str) -> None:
    begin = perf_counter()
    assert private_reach(f"{host}.example") is None
    assert perf_counter() - begin < 2


@pytest.mark.parametrize(
    "content",
    [
        *[
            "",
            "http",
            "http://",
            "https:// a.es",
            "http:a.es",
            "http:/a.es",
            "http://...",
            "https://?a",
            "https:///a",
            "http://@",
        ],
        *[
            "www",
            "www.",
            "www.a",
            "www..a",
            "www.a.",
            "www. a.es",
            "xwww.a.es",
            "a.www.b.es",
            "me@www.a.es",
            "a-www.b.es",
        ],
        *[
            "ftp://a.es",
            "ftp://www.a.es",
            "javascript:alert(1)",
            "mailto:a@b.es",
            "xhttp://a.es",
            "git+https://a.es",
            "//a.es",
        ],
        *["httpſ://a.es", "http://[::1", "http://[]", "http://[a]", "a.es/b", "https://%61.es", "íwww.a.es"],
    ],
)
def test_what_is_no_link(content: str) -> None:
    assert texts(content) == []


@pytest.mark.parametrize(
    ("content", "host"),
    [
        ("https://me@a.es/x", "a.es"),
        ("https://me:secret@a.es", "a.es"),
        ("https://bank.es@evil.es/x", "evil.es"),
        ("https://bank.es:443@evil.es", "evil.es"),
        ("https://a@b@evil.es", "evil.es"),
        ("https://{{me}}@evil.es", "evil.es"),
        ("https://@evil.es", "evil.es"),
    ],
)
def test_a_name_before_the_host_is_seen_and_is_not_the_host(content: str, host: str) -> None:
    (link,) = find_links(content)
    assert (link.text, link.host, link.userinfo) == (content, host, True)


def test_an_at_sign_behind_the_host_is_no_name() -> None:
    (link,) = find_links("https://a.es/@me?b=c@d.es")
    assert (link.host, link.userinfo) == ("a.es", False)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("ftp://a.es/b.", [("ftp://a.es/b", "ftp")]),
        ("(MyApp://open?x=1)", [("MyApp://open?x=1", "myapp")]),
        ("git+https://a.es", [("git+https://a.es", "git+https")]),
        ("Visítahttps://a.es", [("tahttps://a.es", "tahttps")]),
        ("http://... http://?", []),
        ("http://?x", [("http://?x", "http")]),
        ("https://a.es/?u=ftp://b.es", []),
        ("info.https://a.es", []),
        ("javascript:alert(1) mailto:a@b.es tel:112", []),
        ("a://", []),
    ],
)
def test_other_schemes_are_told_apart_from_links(content: str, found: list[tuple[str, str]]) -> None:
    others = other_schemes(content)
    assert [(each.text, each.scheme) for each in others] == found
    assert all(content[each.start : each.end] == each.text for each in others)


@pytest.mark.parametrize(
    ("content", "hosts"),
    [
        ("https://bit.ly/3abc", ["bit.ly"]),
        ("HTTP://WWW.BIT.LY/3abc y http://t.co", ["bit.ly", "t.co"]),
        ("https://bit.ly./3abc https://bit.ly:443/x", ["bit.ly"]),
        ("Ver bit.ly/3abc, Tinyurl.com/x", ["bit.ly", "tinyurl.com"]),
        ("www.bit.ly/3abc", ["bit.ly"]),
        ("https://a.es/bit.ly/x", []),
        ("https://orbit.ly/x orbit.ly/x a.bit.ly/x me@bit.ly/x notbit.ly", []),
        ("https://bit.ly.a.es/x", []),
        ("es bit.ly una marca", []),
    ],
)
def test_public_shorteners_are_known_by_their_whole_host(content: str, hosts: list[str]) -> None:
    assert public_shorteners(content, find_links(content)) == hosts


@pytest.mark.parametrize("host", sorted(PUBLIC_SHORTENERS))
def test_each_public_shortener_is_found_with_and_without_a_scheme(host: str) -> None:
    for content in (f"https://{host}/x", f"{host}/x"):
        assert public_shorteners(content, find_links(content)) == [host]


def test_blanked_leaves_everything_else_where_it_is() -> None:
    content = "Ver https://a.es/b, o www.c.es."
    assert blanked(content, find_links(content)) == "Ver               , o         ."


@given(LINKISH | st.text())
@example("http://{{a}}@{{a}}.es/{{a}}")
def test_links_are_what_stands_in_the_text_and_do_not_overlap(content: str) -> None:
    links = find_links(content)
    for link in links:
        assert 0 <= link.start < link.end <= len(content)
        assert content[link.start : link.end] == link.text
        assert link.url.startswith(("http://", "https://"))
        assert link.url.endswith(link.text[len("https://") :])
        assert link.host in link.text.lower()
    assert all(one.end <= other.start for one, other in pairwise(links))


@given(LINKISH | st.text())
def test_a_link_alone_is_the_same_link(content: str) -> None:
    for link in find_links(content):
        (again,) = find_links(link.text)
        assert (again.text, again.url, again.host, again.userinfo) == (link.text, link.url, link.host, link.userinfo)


@given(LINKISH | st.text())
def test_other_schemes_stand_outside_of_links(content: str) -> None:
    links = find_links(content)
    for other in other_schemes(content, links):
        assert content[other.start : other.end] == other.text
        assert all(other.end <= link.start or link.end <= other.start for link in links)


@pytest.mark.parametrize(
    "piece",
    [
        "http://",
        "http://a@",
        "http://{{a}}",
        "{{a}}",
        "{{",
        "{{ ",
        "www.",
        "www.a.",
        "http://a)",
        "a.",
        "a://",
        "a:",
        "@",
        "https://a.es/x看",
        "https://a.es/-看",
        "https://a.es/😀",
        "https://a看@",
        "www.a.жx",
    ],
)
def test_a_hostile_text_of_ten_thousand_characters_takes_no_time(piece: str) -> None:
    for content in (
        piece * (10_000 // len(piece)),
        "http://" + piece * (9_990 // len(piece)),
        "https://a.es/" + ")." * 5_000,
    ):
        begin = perf_counter()
        other_schemes(content)
        public_shorteners(content, find_links(content))
        assert perf_counter() - begin < 2
