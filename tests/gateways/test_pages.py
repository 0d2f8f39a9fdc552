"""The gateways' pages say what the adapters do: docs/gateways/ has one for each kind, in step with its tables."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module

import orjson
import pytest

from app.gateways import OURS, generic, kannel, smpp_text
from app.gateways.receipt import Auth, Callback, Gateway, Inbound, Options, Outcome, Receipt

from .contract import SAMPLES

PAGES = SAMPLES.parents[2] / "docs" / "gateways"
#: The words of kinds whose module has no table `OUTCOMES` of them.
_OTHERWISE: Mapping[str, Mapping[str, Outcome]] = {
    "generic": {word: outcome for outcome, words in generic._WORDS.items() for word in words.split()},
    "kannel": {str(bit): kannel.outcome(bit) for bit in (1, 2, 4, 8, 16, 32)},
    "smpp": smpp_text.OUTCOMES,
}
_HEADINGS = ["Set up", "What it says", "Pitfalls"]


def words(kind: str) -> Mapping[str, Outcome]:
    found: Mapping[str, Outcome] = _OTHERWISE.get(kind) or import_module(f"app.gateways.{kind}").OUTCOMES
    return found


def page(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text("utf-8")


def translations(text: str) -> Iterator[tuple[str, str]]:
    """Each of the provider's words in the tables of a page, with what it is here."""
    for row in re.findall(r"^\| (.+) \|$", text, re.MULTILINE):
        cells = row.split(" | ")
        if (outcome := cells[-1].strip("`")) in list(Outcome):
            for word in cells[0].split(", "):
                yield word.strip("`"), outcome


def test_each_kind_has_a_page_and_stands_in_the_index() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*OURS, "README"}
    assert set(re.findall(r"^\| \[`(\w+)`\]\(\1\.md\) \|", page("README"), re.MULTILINE)) == set(OURS)


@pytest.mark.parametrize("kind", OURS)
def test_a_page_tells_set_up_words_and_pitfalls(kind: str) -> None:
    assert re.findall(r"^## (.+)$", page(kind), re.MULTILINE) == _HEADINGS
    assert f'"kind": "{kind}"' in page(kind)


@pytest.mark.parametrize("kind", OURS)
def test_a_page_names_every_word_with_what_it_means(kind: str) -> None:
    assert dict(translations(page(kind))) == {word: outcome.value for word, outcome in words(kind).items()}


@pytest.mark.parametrize("kind", OURS)
def test_a_page_names_every_option_of_its_kind(kind: str) -> None:
    own = OURS[kind].options.model_fields.keys() - Options.model_fields.keys()
    assert [name for name in own if f"| `{name}` |" not in page(kind)] == []


def test_the_index_names_the_options_and_proofs_of_all_kinds() -> None:
    proofs = {mode for adapter in OURS.values() for mode in adapter.auth_modes}
    assert [word for word in (*Options.model_fields, *proofs) if word not in page("README")] == []


@pytest.mark.parametrize("kind", ["generic", "smpp"])
def test_the_examples_of_a_page_are_read_without_a_warning(kind: str) -> None:
    adapter = OURS[kind]
    gateway = Gateway(
        id=1, key=kind, kind=kind, implementation=kind, options=adapter.options(), auth=Auth(mode="none")
    )  # fmt: skip
    examples = re.findall(r"```json\n(.*?)```", page(kind), re.DOTALL)
    assert examples
    for example in examples:
        orjson.loads(example)
        callback = Callback(method="POST", url="https://a.test/", query="", headers={}, body=example.encode())
        (item,) = adapter.parse(callback, gateway)
        assert isinstance(item, Receipt | Inbound)
        assert isinstance(item, Inbound) or (
            item.outcome is not Outcome.UNKNOWN and "warnings" not in item.details and item.provider_message_id == "77"
        )


def test_the_generic_page_names_every_field() -> None:
    table = page("generic").split("| field | is |")[1].split("\n\n")[0]
    fields = {name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert fields == set(generic._READERS)


def test_the_smpp_page_numbers_the_states() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d) \|", page("smpp"), re.MULTILINE)
    assert {int(number): word for word, number in rows} == smpp_text.STATES
