"""Tokens, both ways: each decodes to what it names, and nothing else decodes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from time import thread_time
from timeit import repeat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.links.tokens import ALPHABET, LINKS, MESSAGES, Keys, decode, encode, rotated

SECRETS = [bytes([number]) * 32 for number in range(9)]
KEYS = Keys(2, {number: SECRETS[number] for number in range(3)})
#: As many small as large ones: every length of token is met.
MESSAGE_IDS = st.integers(0, 63).flatmap(lambda bits: st.integers(0, (1 << bits) - 1))
LINK_NUMBERS = st.integers(0, LINKS - 1)
#: The last id whose token has so many characters.
LONGEST = {
    8: 2**20 - 1,
    9: 2**26 - 1,
    10: 2**32 - 1,
    11: 2**38 - 1,
    12: 2**44 - 1,
    13: 2**50 - 1,
    14: 2**56 - 1,
    15: 2**62 - 1,
}
#: Dense where the rules are: right lengths, the alphabet, and what is next to it.
TOKENISH = st.text(st.sampled_from(ALPHABET + "-_/ .%\0é１\ud800"), max_size=20)


def of_number(number: int) -> Keys:
    return replace(KEYS, current=number)


@given(MESSAGE_IDS, LINK_NUMBERS, st.integers(0, 2))
def test_every_token_decodes_to_what_it_names_whichever_key_made_it(message_id: int, link: int, number: int) -> None:
    token = encode(of_number(number), message_id, link)
    assert set(token) <= set(ALPHABET)
    assert decode(KEYS, token) == (message_id, link)


@given(st.tuples(MESSAGE_IDS, LINK_NUMBERS, st.integers(0, 2)), st.tuples(MESSAGE_IDS, LINK_NUMBERS, st.integers(0, 2)))
def test_distinct_messages_links_and_keys_have_distinct_tokens(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    tokens = [encode(of_number(number), message_id, link) for message_id, link, number in (one, other)]
    assert (tokens[0] == tokens[1]) == (one == other)


@pytest.mark.slow
def test_a_hundred_thousand_neighbours_have_distinct_tokens() -> None:
    assert len({encode(KEYS, message_id, link) for message_id in range(50_000) for link in (0, 1)}) == 100_000


@pytest.mark.parametrize(("length", "last"), LONGEST.items())
def test_a_token_has_as_many_characters_as_promised_up_to_each_boundary(length: int, last: int) -> None:
    for link in (0, LINKS - 1):
        assert len(encode(KEYS, last, link)) == length
        assert len(encode(KEYS, last + 1, link)) == length + 1
        assert decode(KEYS, encode(KEYS, last, link)) == (last, link)
        assert decode(KEYS, encode(KEYS, last + 1, link)) == (last + 1, link)


def test_a_token_has_8_to_10_characters_for_the_first_billion_messages_and_16_for_the_last() -> None:
    assert [len(encode(KEYS, message_id, 0)) for message_id in (0, 1_000_000, 60_000_000, 1_000_000_000)] == [
        8,
        8,
        9,
        10,
    ]
    assert len(encode(KEYS, MESSAGES - 1, LINKS - 1)) == 16


@pytest.mark.parametrize(("message_id", "link"), [(-1, 0), (MESSAGES, 0), (1, -1), (1, LINKS)])
def test_what_no_token_can_name_is_refused(message_id: int, link: int) -> None:
    with pytest.raises(ValueError, match="A token names"):
        encode(KEYS, message_id, link)


@given(st.one_of(TOKENISH, st.text()))
@example("")
@example("0" * 8)
@example("z" * 16)
def test_decoding_never_raises_and_what_it_accepts_encodes_back_to_itself(token: str) -> None:
    named = decode(KEYS, token)
    assert named is None or token in {encode(of_number(number), *named) for number in range(3)}


@pytest.mark.slow
def test_random_strings_of_the_right_form_pass_at_most_once_in_2_to_the_17th() -> None:
    random = Random(17)
    tries, hits = 420_000, 0
    for length in (8, 9, 10):
        for _ in range(tries // 3):
            token = "".join(random.choices(ALPHABET, k=length))
            named = decode(KEYS, token)
            if named is not None:
                hits += 1
                assert token in {encode(of_number(number), *named) for number in range(3)}
    assert hits <= tries / 2**17


def test_of_all_tags_to_a_hidden_name_about_one_fits() -> None:
    """The best an attacker can do: everything is right but the tag, and all 2^18 are tried."""
    value = worth(encode(KEYS, 77_777, 3))
    named_bits = 26
    rest = value & (1 << named_bits + 3) - 1
    fitting = 0
    for tag in range(2**18):
        guess = tag << named_bits + 3 | (rest & ~7) | (2 ^ tag & 7)
        fitting += decode(KEYS, spelled(guess, 8)) is not None
    assert 1 <= fitting <= 8


def worth(token: str) -> int:
    return sum(ALPHABET.index(character) * 62**place for place, character in enumerate(reversed(token)))


def spelled(value: int, length: int) -> str:
    characters = []
    for _ in range(length):
        value, digit = divmod(value, 62)
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters))


@pytest.mark.parametrize("message_id", [0, 12, 999_999, 1_048_576, 66_000_000, 1_000_000_000, MESSAGES - 1])
def test_a_token_with_one_character_changed_passes_next_to_never(message_id: int) -> None:
    token = encode(KEYS, message_id, 5)
    changed = [
        token[:place] + character + token[place + 1 :]
        for place in range(len(token))
        for character in ALPHABET
        if character != token[place]
    ]
    assert sum(decode(KEYS, each) is not None for each in changed) == 0


def test_there_is_no_second_spelling_of_a_token() -> None:
    for message_id in range(0, 1_000_000, 9_973):
        token = encode(KEYS, message_id, message_id % LINKS)
        others = {
            "0" + token,
            token + "0",
            token[1:],
            token[:-1],
            token.swapcase(),
            token[::-1],
            f" {token}",
            f"{token}\n",
        }
        others.add(token.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}))
        others.add(spelled(worth(token) + (1 << 47), 8))  # the same bits, one turn above the largest that is used
        assert [each for each in others - {token} if decode(KEYS, each) is not None] == []


def test_a_name_that_belongs_into_a_shorter_token_is_refused_in_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.links import tokens

    nine = tokens._SHAPES[9]
    monkeypatch.setattr(tokens, "_FITTING", [nine] * 64)
    assert decode(KEYS, encode(KEYS, 2**20, 0)) == (2**20, 0)
    assert decode(KEYS, encode(KEYS, 2**20 - 1, 0)) is None


def test_neighbours_share_no_visible_pattern() -> None:
    """A walk over ids: at every place, neighbours have the same character as often as strangers do."""
    walk = [encode(KEYS, message_id, 0) for message_id in range(20_000)]
    for place in range(8):
        same = sum(one[place] == next_one[place] for one, next_one in pairwise(walk))
        assert same / len(walk) < 1.5 / (39 if place == 0 else 62)  # values end at 2^47: the first has 40 characters
    assert sum(one < next_one for one, next_one in pairwise(walk)) / len(walk) == pytest.approx(0.5, abs=0.02)
    for key_number in range(3):
        ends = {encode(of_number(key_number), message_id, 0)[-1] for message_id in range(2_000)}
        assert len(ends) == 62  # the number of the key does not show either


def test_links_of_one_message_share_no_visible_pattern() -> None:
    tokens = [encode(KEYS, 4_321, link) for link in range(LINKS)]
    for one, next_one in pairwise(tokens):
        assert sum(a == b for a, b in zip(one, next_one, strict=True)) <= 3


def test_other_keys_refuse() -> None:
    strangers = Keys(2, {number: bytes([100 + number]) * 32 for number in range(8)})
    assert sum(decode(strangers, encode(KEYS, message_id, 1)) is not None for message_id in range(20_000)) <= 1


def test_a_key_that_was_taken_away_takes_its_tokens_with_it() -> None:
    token = encode(of_number(1), 99, 0)
    assert decode(Keys(2, {2: SECRETS[2], 0: SECRETS[0]}), token) is None


def test_tokens_outlive_seven_rotations_and_not_the_eighth() -> None:
    keys = Keys(6, {6: SECRETS[0]})
    token = encode(keys, 1_234_567, 9)
    for times in range(1, 8):
        keys = rotated(keys, SECRETS[times])
        assert keys.current == (6 + times) % 8
        assert decode(keys, token) == (1_234_567, 9)
        assert decode(keys, encode(keys, 5, 0)) == (5, 0)
    keys = rotated(keys, SECRETS[8])
    assert keys.current == 6
    assert decode(keys, token) is None
    assert len(keys.secrets) == 8


@pytest.mark.parametrize(
    ("current", "secrets"),
    [
        (0, {}),
        (1, {0: SECRETS[0]}),
        (8, {8: SECRETS[0]}),
        (-1, {-1: SECRETS[0]}),
        (0, {0: b"short"}),
        (0, {0: b"x" * 33}),
    ],
)
def test_keys_that_cannot_be_are_refused(current: int, secrets: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match=r"[Kk]ey"):
        Keys(current, secrets)


def test_secrets_are_not_shown() -> None:
    assert repr(KEYS) == "Keys(current=2)"


def quickest(action: Callable[[], object]) -> float:
    """Seconds of the processor for one, of the best of many runs: others share the processors."""
    return min(repeat(action, timer=thread_time, number=2_000, repeat=15)) / 2_000


def test_wrong_tokens_take_as_long_whichever_way_they_are_wrong() -> None:
    token = encode(KEYS, 1_000_000_000, 3)
    wrong = {
        "tag": token[:-1] + ("a" if token[-1] != "a" else "b"),
        "letter": token[:-1] + "!",
        "first letter": "!" + token[1:],
        "too high": "z" * 10,
        "too short": token[:5],
        "too long": token * 3,
        "no token": "",
        "forgotten key": encode(Keys(7, {7: SECRETS[7]}), 1_000_000_000, 3),
    }
    assert all(decode(KEYS, each) is None for each in wrong.values())
    took = {name: quickest(lambda each=each: decode(KEYS, each)) for name, each in wrong.items()}  # type: ignore[misc]
    assert max(took.values()) < 2.5 * min(took.values()), took


def test_tokens_are_made_and_read_in_microseconds() -> None:
    token = encode(KEYS, 1_000_000_000, 3)
    assert quickest(lambda: encode(KEYS, 1_000_000_000, 3)) < 20e-6  # 2.5 µs where nobody else works
    assert quickest(lambda: decode(KEYS, token)) < 20e-6
