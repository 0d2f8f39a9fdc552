"""No request is led anywhere but where a link was registered to lead; and what is registered has one plain spelling."""

from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.links import destinations as targets
from app.links.destinations import MAX_LENGTH, Refused, check, fill, names, template_error, with_params
from app.texts import placeholders

#: What URLs are made of and what breaks them, close together.
PIECES = [
    "http://", "https://", "HTTP://", "//", "/", "\\", "a.es", "b.es", "www.", "ñ", "ｅ", "。", ".", "..", ":",
    ":80", ":0", "@", "%40", "%",
    "%0d%0a", "\r\n", "\t", " ", "?", "#", "&", "=", "[", "]", "[::1]", "127.1", "0x7f.1", "xn--", "{{a}}", "{{",
    "}", "é", "看", "\u202e",
    "\u200b", "\u2028", "\ud800", "javascript:", "data:", "<", ">", '"', "'", "x", "-", "_", "+", "K", "ß",
]  # fmt: skip
URLISH = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
SCHEMES = st.sampled_from(["http://", "https://", "HTTPS://"])
HOSTS = st.sampled_from(
    ["a.es", "b.A.es:8080", "ñ.es", "[::1]", "[2001:DB8::1]:81", "192.0.2.1", "xn--ida.es", "例え.jp:1"]
)
#: Nothing in it is refused, whatever it is put together to.
TAILS = st.lists(
    st.sampled_from([each for each in PIECES if not targets._UNSEEN.search(each) and each != "\\"]), max_size=14
)
GOOD = st.tuples(SCHEMES, HOSTS, st.sampled_from("/?#"), TAILS.map("".join)).map("".join)
ANYTHING = st.one_of(st.text(), URLISH, st.tuples(SCHEMES, HOSTS | URLISH, URLISH).map("".join))


def refusal(url: str) -> str | None:
    try:
        check(url)
    except Refused as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://a.es", "https://a.es/"),
        ("HTTP://A.ES/Path?Q=1#F", "http://a.es/Path?Q=1#F"),
        ("hTTpS://a.es", "https://a.es/"),
        ("  https://a.es/x  ", "https://a.es/x"),
        ("https://a.es?x=1", "https://a.es/?x=1"),
        ("https://a.es#f", "https://a.es/#f"),
        ("https://a.es/?#", "https://a.es/?#"),
        ("https://localhost:8080/", "https://localhost:8080/"),
        ("https://a.es:0443/", "https://a.es:443/"),
        ("http://a_b.es/", "http://a_b.es/"),
        ("http://192.0.2.1:81/", "http://192.0.2.1:81/"),
        ("http://[2001:DB8:0:0::1]:81/x", "http://[2001:db8::1]:81/x"),
        ("http://[::ffff:192.0.2.1]/", "http://[::ffff:c000:201]/"),
        ("https://españa.es/año?año=ñ#ñ", "https://xn--espaa-rta.es/a%C3%B1o?a%C3%B1o=%C3%B1#%C3%B1"),
        ("https://ESPAÑA.es/", "https://xn--espaa-rta.es/"),
        ("https://espan\u0303a.es/", "https://xn--espaa-rta.es/"),
        ("https://straße.de/", "https://xn--strae-oqa.de/"),
        ("https://例え.jp/看", "https://xn--r8jz45g.jp/%E7%9C%8B"),
        ("https://xn--espaa-rta.es/", "https://xn--espaa-rta.es/"),
        ("https://a.es/a b", "https://a.es/a%20b"),
        ("https://a.es/100%", "https://a.es/100%25"),
        ("https://a.es/%zz%2", "https://a.es/%25zz%252"),
        ("https://a.es/%20%C3%B1%2F", "https://a.es/%20%C3%B1%2F"),
        ("https://a.es/%0d%0aSet-Cookie:%20a=b", "https://a.es/%0d%0aSet-Cookie:%20a=b"),
        ("https://a.es/<script>\"'`{}|^", "https://a.es/%3Cscript%3E%22'%60%7B%7D%7C%5E"),
        ("https://a.es/?a[]=1&b=c+d", "https://a.es/?a[]=1&b=c+d"),
        ("https://a.es/?u=http://b.es/@c", "https://a.es/?u=http://b.es/@c"),
        ("https://a.es//b.es/../x", "https://a.es//b.es/../x"),
        ("https://a.es/\u202egnp", "https://a.es/%E2%80%AEgnp"),
        ("https://a.es/#a#b?c", "https://a.es/#a%23b?c"),
    ],
)
def test_what_is_registered_has_one_plain_spelling(url: str, location: str) -> None:
    assert check(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "", " ", "a.es", "www.a.es", "//a.es", "///a.es", "/x", "?x", "#x", "http:", "http:/a.es", "http:a.es",
        "http//a.es", "http ://a.es",
        "http:// a.es", "javascript:alert(1)", "JAVASCRIPT:alert(1)", "javascript://a.es/%0aalert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x", "data://a.es", "ftp://a.es/", "file:///etc/passwd", "vbscript:x",
        "blob:https://a.es/x", "intent://a.es#Intent",
        "view-source:http://a.es", "git+https://a.es", "ws://a.es", "tel:+34600", "sms:+34600", "mailto:a@b.es",
        "xhttp://a.es",
        "ｈttp://a.es", "http：//a.es", "http:／／a.es", "ſhttp://a.es", "https:/\\a.es", "\\\\a.es", "http:\\\\a.es",
    ],
)  # fmt: skip
def test_only_http_and_https_with_two_slashes_are_led_to(url: str) -> None:
    assert refusal(url) is not None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://", "no host"), ("http:///a.es", "no host"), ("http://?x", "no host"), ("http://#x", "no host"),
        ("http://:80/", "no host"),
        ("http://a.es\\@b.es/", "backslash"), ("http://a.es/\\b.es", "backslash"), ("http://a.es/?\\", "backslash"),
        ("http://a@b.es/", "password"), ("http://a:b@c.es/", "password"), ("http://a.es@/", "password"),
        ("http://@a.es/", "password"),
        ("http://a.es:80@b.es/", "password"), ("http://a.es%40b.es/", "no host name"),
        ("http://a.es%2f.b.es/", "no host name"),
        ("http://a.es%00/", "no host name"), ("http://%61.es/", "no host name"), ("http://a..es/", "no host name"),
        ("http://.a.es/", "no host name"), ("http://a.es./", "no host name"), ("http://./", "no host name"),
        ("http://-a.es/", "no host name"),
        ("http://a-.es/", "no host name"), ("http://a,b.es/", "no host name"), ("http://a b.es/", "no host name"),
        ("http://a.es;b.es/", "no host name"), ("http://a*.es/", "no host name"), ("http://<b>.es/", "no host name"),
        ("http://{{host}}/", "no host name"), ("http://" + "a" * 64 + ".es/", "no host name"),
        ("http://" + "a." * 127 + "es/", "no host name"), ("http://\u200b.es/", "no host name"),
        ("http://a\u00ad.es/", "no host name"),
        ("http://a\u202e.es/", "no host name"), ("http://☕.es/", "no host name"),
        ("http://ñ" + "x" * 70 + ".es/", "no host name"),
        ("http://ñ..es/", "no host name"), ("http://ñ.es./", "no host name"),
        ("http://a。es/", "disguised"), ("http://a．es/", "disguised"), ("http://a｡es/", "disguised"),
        ("http://a․es/", "disguised"),
        ("http://ｅxample.com/", "disguised"), ("http://ⓔxample.com/", "disguised"),
        ("http://boo\u212aing.com/", "disguised"),
        ("http://ex\u2100mple.com/", "disguised"), ("http://a.es／b/", "disguised"), ("http://a.es＠b.es/", "disguised"),
        ("http://a.es：80/", "disguised"), ("http://ſ.es/", "disguised"), ("http://１.1.1.1/", "disguised"),
        ("http://a.es＃@b.es/", "password"),
        ("http://a.es:/", "port"), ("http://a.es:0/", "port"), ("http://a.es:65536/", "port"),
        ("http://a.es:-1/", "port"),
        ("http://a.es:8a/", "port"), ("http://a.es:80:80/", "port"), ("http://a.es:１/", "port"),
        ("http://a.es:+80/", "port"),
        ("http://a.es: 80/", "port"), ("http://[::1]x/", "port"), ("http://[::1]:/", "port"),
        ("http://[/", "IPv6"), ("http://[]/", "IPv6"), ("http://[::1/", "IPv6"), ("http://[1.2.3.4]/", "IPv6"),
        ("http://[::g]/", "IPv6"),
        ("http://[v1.a]/", "IPv6"), ("http://[fe80::1%25eth0]/", "zone"), ("http://::1/", "no host"),
        ("http://2130706433/", "IPv4"), ("http://0x7f000001/", "IPv4"), ("http://127.1/", "IPv4"),
        ("http://127.0.0.01/", "IPv4"),
        ("http://0177.0.0.1/", "IPv4"), ("http://256.1.1.1/", "IPv4"), ("http://1.2.3.4.5/", "IPv4"),
        ("http://a.0x/", "IPv4"),
        ("http://a.es/\r\nSet-Cookie: a=b", "nobody sees, U+000D"), ("http://a.es/\nx", "U+000A"),
        ("ht\ttp://a.es/", "U+0009"),
        ("http://a.es/\0", "U+0000"), ("http://a.es\x7f/", "U+007F"), ("http://a.es/\x85", "U+0085"),
        ("http://a.es/\u2028", "U+2028"),
        ("http://a.es/\ud800", "U+D800"), ("\nhttp://a.es/", "U+000A"), ("http://a.es/\n", "U+000A"),
        ("http://a\r.es/", "U+000D"),
        ("http://a.es/" + "x" * MAX_LENGTH, "at most 2000"), ("http://a.es/" + "ñ" * 400, "more than 2000"),
    ],
)  # fmt: skip
def test_what_two_readers_read_apart_is_refused_with_a_sentence(url: str, said: str) -> None:
    sentence = refusal(url)
    assert sentence is not None
    assert said in sentence
    assert sentence.endswith(".")


def test_the_longest_url_is_as_long_as_promised() -> None:
    longest = "https://a.es/" + "x" * (MAX_LENGTH - len("https://a.es/"))
    assert check(longest) == longest
    assert refusal(longest + "x") is not None


def httpx_host(url: str) -> str:
    """As httpx reads it, the short way that addresses are written."""
    host = httpx.URL(url).raw_host.decode("ascii")
    return str(ip_address(host.strip("[]"))) if ":" in host else host


def registered_host(url: str) -> str:
    return httpx_host(url.strip(" ").partition("#")[0].partition("?")[0].replace("%", "%25"))


@given(GOOD)
def test_whatever_follows_the_host_does_not_make_it_another(url: str) -> None:
    assert httpx_host(check(url)) == registered_host(url)


@given(ANYTHING | GOOD)
@example("http://a.es:80/x")
@example("https://ñ.es:8443/é?é#é")
def test_every_location_is_plain_ascii_and_all_read_the_same_host_in_it(url: str) -> None:
    try:
        location = check(url)
    except Refused:
        return
    assert all(0x20 < ord(character) < 0x7F for character in location)
    assert len(location) <= MAX_LENGTH
    assert "\\" not in location
    ours, theirs = urlsplit(location), httpx.URL(location)
    assert ours.scheme == theirs.scheme == url.strip(" ").partition(":")[0].lower()
    assert ours.hostname == httpx_host(location) == registered_host(url)
    assert theirs.port in (ours.port, None)
    assert ours.username is None
    assert ours.password is None
    assert theirs.userinfo == b""
    assert check(location) == location


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "params", "expected"),
    [
        ("https://a.es/", {}, "https://a.es/"),
        ("https://a.es/", {"utm_source": "sms"}, "https://a.es/?utm_source=sms"),
        (
            "https://a.es/?x=1",
            {"utm_source": "sms", "utm_medium": "b"},
            "https://a.es/?x=1&utm_source=sms&utm_medium=b",
        ),
        ("https://a.es/#f?g", {"a": "1"}, "https://a.es/?a=1#f?g"),
        ("https://a.es/?x#f", {"a": "1"}, "https://a.es/?x&a=1#f"),
        ("https://a.es/?", {"a": "1"}, "https://a.es/?a=1"),
        ("https://a.es/?x&", {"a": "1"}, "https://a.es/?x&a=1"),
        ("https://a.es/?a=0", {"a": "1", "b": "2"}, "https://a.es/?a=0&b=2"),
        ("https://a.es/?a", {"a": "1"}, "https://a.es/?a"),
        ("https://a.es/?utm%5Fsource=x", {"utm_source": "sms"}, "https://a.es/?utm%5Fsource=x"),
        ("https://a.es/?A=0", {"a": "1"}, "https://a.es/?A=0&a=1"),
        ("https://a.es/#?a=0", {"a": "1"}, "https://a.es/?a=1#?a=0"),
        ("https://a.es/", {"a": "ñ &=#?/\r\n", "é": ""}, "https://a.es/?a=%C3%B1%20%26%3D%23%3F%2F%0D%0A&%C3%A9="),
        ("https://a.es/?x={{n}}", {"a": "1"}, "https://a.es/?x={{n}}&a=1"),
    ],
)
def test_parameters_are_added_before_the_fragment_and_replace_none(
    url: str, params: dict[str, str], expected: str
) -> None:
    assert with_params(url, params) == expected


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(
    st.dictionaries(WORDS, WORDS, max_size=4),
    st.dictionaries(WORDS, WORDS, max_size=4),
    st.sampled_from(["", "#f", "#?a=b"]),
)
def test_added_parameters_are_read_back_after_those_that_stand(
    standing: dict[str, str], added: dict[str, str], fragment: str
) -> None:
    url = with_params("https://a.es/x" + fragment, standing)
    result = with_params(url, added)
    expected = [*standing.items(), *((name, value) for name, value in added.items() if name not in standing)]
    assert parse_qsl(urlsplit(result).query, keep_blank_values=True) == expected
    assert result.startswith("https://a.es/x")
    assert result.endswith(fragment)
    assume(len(result) <= MAX_LENGTH)
    assert check(result) == result


# --- templates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "values", "location"),
    [
        ("https://a.es/{{id}}", {"id": "42"}, "https://a.es/42"),
        (
            "https://a.es/{{ id }}?n={{name}}#{{id}}",
            {"id": "42", "name": "Ana María"},
            "https://a.es/42?n=Ana%20Mar%C3%ADa#42",
        ),
        ("https://a.es?{{q}}", {"q": "a=b&c"}, "https://a.es/?a%3Db%26c"),
        ("https://a.es#{{q}}", {"q": "#"}, "https://a.es/#%23"),
        ("https://a.es/{{id}}/x", {}, "https://a.es//x"),
        ("https://a.es/{{id}}", {"id": "//b.es/../?#@:\\\r\n"}, "https://a.es/%2F%2Fb.es%2F..%2F%3F%23%40%3A%5C%0D%0A"),
        ("https://a.es/u/{{id}}/x", {"id": ".."}, "https://a.es/u//x"),
        ("https://a.es/u/{{id}}/x", {"id": "."}, "https://a.es/u//x"),
        ("https://a.es/{{id}}", {"id": "{{id}}"}, "https://a.es/%7B%7Bid%7D%7D"),
        ("https://a.es/{{id}}", {"id": "\ud800"}, "https://a.es/%3F"),
        ("https://a.es/100%{{id}}", {"id": "41"}, "https://a.es/100%41"),
        (" https://ñ.es/é{x}{{id}}", {"id": "1"}, "https://xn--ida.es/%C3%A9%7Bx%7D1"),
        ("https://a.es/", {"id": "1"}, "https://a.es/"),
    ],
)
def test_templates_are_filled_with_encoded_values(template: str, values: dict[str, str], location: str) -> None:
    assert template_error(template) is None
    assert fill(template, values) == location


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{url}}", "never before or in the host"),
        ("{{scheme}}://a.es/", "never before or in the host"),
        ("https://{{host}}/", "never before or in the host"),
        ("https://{{sub}}.a.es/", "never before or in the host"),
        ("https://a.es{{path}}", "never before or in the host"),
        ("https://a.es{{path}}/x", "never before or in the host"),
        ("https://a.es:{{port}}/x", "never before or in the host"),
        ("https://{{user}}@a.es/", "never before or in the host"),
        ("https:/{{x}}/a.es/", "never before or in the host"),
        ("//{{x}}/", "never before or in the host"),
        ("javascript:{{x}}", "never before or in the host"),
        ("https://a.es/{{}}", "braces"),
        ("https://a.es/{{a", "braces"),
        ("https://a.es/a}}", "braces"),
        ("https://a.es/{{{a}}}", "braces"),
        ("https://a.es/{{a b}}", "braces"),
        ("https://a.es/{{{{a}}}}", "braces"),
        ("https://{a}.es/", "no host name"),
        ("https://u@a.es/{{x}}", "password"),
        ("ftp://a.es/x", "http://"),
        ("https://a.es/\n{{x}}", "nobody sees"),
    ],
)
def test_a_template_says_what_is_wrong_with_it(template: str, said: str) -> None:
    sentence = template_error(template)
    assert sentence is not None
    assert said in sentence
    with pytest.raises(Refused):
        fill(template, {"url": "https://b.es/", "host": "b.es", "path": ".b.es"})


def test_a_filled_url_that_grew_too_long_is_refused() -> None:
    assert template_error("https://a.es/{{x}}") is None
    with pytest.raises(Refused, match="2000"):
        fill("https://a.es/{{x}}", {"x": "y" * MAX_LENGTH})


@given(
    st.sampled_from(
        ["https://a.es/{{x}}", "https://a.es?{{x}}&b=2", "https://a.es#{{x}}", "https://a.es/b/{{x}}{{y}}/c?d={{y}}#e"]
    ),
    ANYTHING,
    ANYTHING,
)
def test_no_value_leads_to_another_host_or_adds_a_parameter(template: str, x: str, y: str) -> None:
    try:
        location = fill(template, {"x": x, "y": y})
    except Refused as refused:
        assert "2000" in str(refused)  # noqa: PT017 - nothing else may be wrong
        return
    empty, filled = urlsplit(fill(template, {})), urlsplit(location)
    assert filled.netloc == "a.es"
    assert httpx.URL(location).raw_host == b"a.es"
    assert filled.path.count("/") == empty.path.count("/")
    assert filled.query.count("&") == empty.query.count("&")
    assert filled.query.count("=") == empty.query.count("=")
    assert check(location) == location


@given(ANYTHING)
def test_a_template_without_an_error_can_be_filled_and_one_with_an_error_cannot(template: str) -> None:
    error = template_error(template)
    if error is None:
        assert fill(template, dict.fromkeys(names(template), "1")) != ""
    else:
        with pytest.raises(Refused):
            fill(template, {})


def test_the_names_of_a_template_are_told_once_each_in_order() -> None:
    assert names("https://a.es/{{b}}?x={{ a }}&y={{b}}#{{c.d-e}}") == ("b", "a", "c.d-e")
    assert names("https://a.es/") == ()


@given(
    st.lists(st.sampled_from(["{", "}", "{{", "}}", "a", " ", "1", "-", ".", "_", "{{a}}", "\n"]), max_size=12).map(
        "".join
    )
)
def test_placeholders_are_those_of_a_messages_text(text: str) -> None:
    template = placeholders.Template.parse(text)
    assert names(text) == template.names
    bare = targets._PLACEHOLDER.sub("", text)
    assert ("{{" in bare or "}}" in bare) == bool(template.malformed)
