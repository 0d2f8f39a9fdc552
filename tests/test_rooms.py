"""The drawing of the rooms is what the imports say."""

from . import rooms


def test_the_drawing_is_current() -> None:
    page = rooms.PAGE.read_text("utf-8")
    assert page == rooms.drawn(page), "run `python -m tests.rooms`"


def test_every_arrow_leads_down() -> None:
    place = {room: number for number, row in enumerate(rooms.rows()) for room in row}
    found = rooms.arrows()
    assert found.keys() <= place.keys()
    assert [(room, other) for room, others in found.items() for other in others if place[other] <= place[room]] == []
