"""One phone, one identity."""

import random

import phonenumbers
import pytest

from app import numbers
from app.identities import identity, spellings
from app.numbers import normalise

#: Spellings of one phone, the identity last.
SAME = [
    ("+541123456780", "+5491123456780"),  # AfterShip/phone#18, signalapp/Signal-Android#10506
    ("+542944123456", "+5492944123456"),
    ("+551187654321", "+5511987654321"),  # chatwoot/chatwoot#13986
    ("+556181234567", "+5561981234567"),
    ("+5215512345678", "+525512345678"),  # daviddrysdale/python-phonenumbers#306
    ("+5712345678", "+576012345678"),
    ("+22997123456", "+2290197123456"),
    ("+22507123456", "+2250707123456"),
    ("+22545123456", "+2250545123456"),
    ("+22541123456", "+2250141123456"),
    ("+22520312345", "+2252720312345"),
    ("+841201234567", "+84701234567"),
    ("+841691234567", "+84391234567"),
    ("+841991234567", "+84591234567"),
    ("+2416123456", "+24106123456", "+24166123456"),
    ("+2414123456", "+24104123456", "+24174123456"),
    ("+23777123456", "+237677123456"),
    ("+972599123456", "+970599123456"),
    ("+38649123456", "+38349123456"),
    ("+37744123456", "+38344123456"),
]
#: Alike, and two phones, or nobody can tell.
TWO = [
    ("+541123456780", "+5491123456781"),
    ("+551133334444", "+5511933334444"),  # a landline's number never got the 9
    ("+55118765432", "+551198765432"),
    ("+5731234567", "+576031234567"),  # no area has a 3
    ("+573211234567", "+57603211234567"),
    ("+5411234567801", "+54911234567801"),
    ("+548001234567", "+5498001234567"),  # freephone is no mobile
    ("+525512345678", "+5225512345678"),
    ("+972501234567", "+970501234567"),
    ("+38640123456", "+38340123456"),
    ("+34600123123", "+346001231230"),
]


@pytest.mark.parametrize("same", SAME, ids=lambda same: same[-1])
def test_all_spellings_of_a_phone_have_one_identity(same: tuple[str, ...]) -> None:
    assert {identity(each) for each in same} == {same[-1]}
    for each in same:
        assert spellings(each)[0] == each
        assert {read for one in same if (read := normalise(one)) == one} <= set(spellings(each))


def test_what_no_plan_reads_any_more_is_a_spelling_only_when_it_is_asked_for() -> None:
    assert spellings("+525512345678") == ("+525512345678",)
    assert spellings("+525512345678", dead=True) == ("+525512345678", "+5215512345678")
    assert spellings("+2250707123456", dead=True) == ("+2250707123456", "+22507123456")


@pytest.mark.parametrize("two", TWO)
def test_what_cannot_be_told_to_be_one_phone_is_two(two: tuple[str, str]) -> None:
    assert len({identity(each) for each in two}) == 2


@pytest.mark.parametrize(
    "given", ["", "+", "+5", "erased:549112345678054911234567805491123456", "5491123456780", "Acme"]
)
def test_what_is_no_address_is_its_own_identity(given: str) -> None:
    assert identity(given) == given
    assert spellings(given) == (given,)


def test_the_identity_of_an_identity_is_itself_and_spellings_are_those_that_share_it() -> None:
    chance = random.Random(11)
    beginnings = ("54", "549", "55", "5511", "52", "521", "57", "5760", "229", "22901",
                  "225", "84", "8412", "241", "2410", "237", "97259",
                  "970", "386", "383", "377", "34", "1", "44")  # fmt: skip
    for _ in range(20_000):
        digits = "".join(chance.choices("0123456789", k=chance.randint(6, 10)))
        address = f"+{chance.choice(beginnings)}{digits}"
        one = identity(address)
        assert identity(one) == one, address
        assert {identity(each) for each in spellings(address)} == {one}
        stored = {each for each in spellings(one) if numbers._parsed(each, None) == each}
        for each in stored:
            assert stored <= set(spellings(each)), address


@pytest.mark.parametrize("region", ["AR", "BR", "MX", "CO", "BJ", "CI", "VN", "GA", "CM", "PS", "XK"])
def test_an_identity_is_a_possible_number(region: str) -> None:
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
        example = phonenumbers.example_number_for_type(region, kind)
        assert example is not None
        address = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        assert normalise(identity(address)) == identity(address)
