"""What is a placeholder, what is only braces, and what is put in its place."""

from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.texts.encoding import measure
from app.texts.placeholders import MissingParam, Template

ANY_TEXT = st.text(st.integers(0, 0x10FFFF).map(chr))
#: Braces, names and blanks close together.
BRACES = st.text("{}{}a_9. -\n", max_size=40)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
VALUES = ANY_TEXT | st.integers() | st.floats() | st.booleans() | st.decimals() | st.none() | st.lists(st.integers())


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("", ()),
        ("Hello", ()),
        ("Hello {{name}}", ("name",)),
        ("{{a}}{{b}}{{a}}", ("a", "b")),
        ("{{ name }} {{\tname\t}} {{\u00a0name\n}}", ("name",)),
        ("{{_a}} {{A9}} {{a.b-c_d}}", ("_a", "A9", "a.b-c_d")),
        ("{{" + "a" * 64 + "}}", ("a" * 64,)),
        ("{name} { {name} } { } }{", ()),
        ("{a {{b}} c}", ("b",)),
        ("{{name|customer}} {{ name | dear customer }} {{b|}}", ("name", "b")),
        ("{{name|" + "a" * 200 + "}}", ("name",)),
    ],
)
def test_placeholders_are_two_braces_around_a_name(content: str, names: tuple[str, ...]) -> None:
    template = Template.parse(content)
    assert (template.names, template.malformed) == (names, ())


@pytest.mark.parametrize(
    ("content", "malformed"),
    [
        ("a {{", [(2, "{{")]),
        ("}} a", [(0, "}}")]),
        ("{{}}", [(0, "{{}}")]),
        ("{{ }}", [(0, "{{ }}")]),
        ("{{a b}}", [(0, "{{a b}}")]),
        ("{{9a}} {{a!}} {{-a}} {{ñ}}", [(0, "{{9a}}"), (7, "{{a!}}"), (14, "{{-a}}"), (21, "{{ñ}}")]),
        ("{{ſ}} {{\u212a}}", [(0, "{{ſ}}"), (6, "{{\u212a}}")]),
        ("{{" + "a" * 65 + "}}", [(0, "{{" + "a" * 38)]),
        ("{{{name}}}", [(0, "{{{name}}}")]),
        ("{{{name}}", [(0, "{{{name}}")]),
        ("{{name}}}", [(0, "{{name}}}")]),
        ("{{name} {{b}}", [(0, "{{")]),
        ("{{a}} {{b} }", [(6, "{{")]),
        ("{{a {{b}} c}}", [(0, "{{"), (11, "}}")]),
        ("}}{{", [(0, "}}"), (2, "{{")]),
        ("{{|a}}", [(0, "{{|a}}")]),
        ("{{a|b|c}}", [(0, "{{a|b|c}}")]),
        ("{{9|a}}", [(0, "{{9|a}}")]),
        ("{{a|{c}}}", [(0, "{{"), (6, "}}}")]),
        ("{{a|" + "b" * 201 + "}}", [(0, "{{a|" + "b" * 36)]),
    ],
)
def test_other_double_braces_are_malformed_and_stay(content: str, malformed: list[tuple[int, str]]) -> None:
    template = Template.parse(content)
    assert [(each.position, each.snippet) for each in template.malformed] == malformed
    assert template.render(dict.fromkeys(template.names, "*")) == content.replace("{{b}}", "*").replace("{{a}}", "*")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *[("Ana", "Ana"), (" ", " "), ("0", "0"), (0, "0"), (-7, "-7"), (1.5, "1.5"), (20.0, "20.0")],
        *[(True, "true"), (False, "false"), (Decimal("9.90"), "9.90"), (Decimal(0), "0")],
        *[("{{b}}", "{{b}}"), ("{{a}}", "{{a}}"), ("%s {0} $x \\1", "%s {0} $x \\1")],
    ],
)
def test_a_value_is_put_in_as_it_is(value: Any, written: str) -> None:
    assert Template.parse("<{{a}}|{{ a }}>").render({"a": value, "b": "no"}) == f"<{written}|{written}>"


@pytest.mark.parametrize("params", [{}, {"b": None}, {"b": ""}, {"B": "x"}, {"b": []}, {"b": {"c": 1}}, {"b": b"x"}])
def test_a_placeholder_without_a_value_is_an_error_that_names_it(params: dict[str, Any]) -> None:
    with pytest.raises(MissingParam) as raised:
        Template.parse("{{a}} {{b}} {{c}}").render({"a": 1} | params)
    assert raised.value.name == "b"


@pytest.mark.parametrize("nothing", [{}, {"a": None}, {"a": ""}, {"a": " "}, {"a": "\t\u00a0"}, {"A": "x"}, {"a": []}])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Hello {{a|customer}}!", "Hello customer!"),
        ("Hello {{ a | dear customer }}!", "Hello dear customer!"),
        ("Hello{{a|}}!", "Hello!"),
        ("{{a|Straße 1, 2º}} {{a|x}}", "Straße 1, 2º x"),
    ],
)
def test_a_default_stands_where_there_is_no_value(content: str, text: str, nothing: dict[str, Any]) -> None:
    template = Template.parse(content)
    assert template.render(nothing) == template.filled({}) == text
    assert template.required == ()


@pytest.mark.parametrize(("value", "written"), [("Ana", "Ana"), (0, "0"), (False, "false"), (" Bo ", " Bo ")])
def test_a_value_beats_the_default(value: Any, written: str) -> None:
    assert Template.parse("<{{a|customer}}>").render({"a": value}) == f"<{written}>"


def test_a_default_in_one_place_helps_no_other_place() -> None:
    template = Template.parse("{{a|x}} {{b|y}} {{a}} {{a|xyz}}")
    assert (template.required, template.defaults) == (("a",), {"a": "xyz", "b": "y"})
    with pytest.raises(MissingParam):
        template.render({})


def test_one_recipients_values_do_not_stay_for_the_next() -> None:
    template = Template.parse("{{a}}-{{b}}")
    assert [template.render({"a": one, "b": "x"}) for one in ("1", "2")] == ["1-x", "2-x"]
    with pytest.raises(MissingParam):
        template.render({"a": "3"})
    assert template == Template.parse("{{a}}-{{b}}")


def test_filled_leaves_out_what_has_no_value() -> None:
    assert Template.parse("{{a}}, {{b}}!").filled({"b": "x"}) == ", x!"


@given(ANY_TEXT | BRACES, st.data())
def test_what_is_rendered_can_be_measured(content: str, data: st.DataObject) -> None:
    template = Template.parse(content)
    with suppress(MissingParam):
        text = template.render({name: data.draw(VALUES) for name in template.names})
        assert measure(text).parts >= 1


@given(ANY_TEXT | BRACES)
def test_a_text_without_placeholders_is_rendered_as_it_is(content: str) -> None:
    template = Template.parse(content)
    if not template.names:
        assert template.render({}) == template.filled({}) == content


@given(st.lists(st.tuples(st.text("ab ñ€."), NAMES)), st.text("ab ñ€."))
def test_pieces_and_values_are_joined_in_their_order(pieces: list[tuple[str, str]], end: str) -> None:
    template = Template.parse("".join(f"{literal}{{{{{name}}}}}" for literal, name in pieces) + end)
    values = {name: f"<{name}>" for _, name in pieces}
    assert template.names == tuple(dict.fromkeys(values))
    assert template.render(values) == "".join(f"{literal}<{name}>" for literal, name in pieces) + end
