"""A delivery's text as it is made ready, once, to be filled for each message."""

from time import perf_counter

from app.deliveries.texts import Text


def test_a_text_of_many_placeholders_is_made_ready_in_no_time() -> None:
    content = "".join(f"{{{{a{number}}}}}{{{{b|{number}}}}}" for number in range(10_000))
    begin = perf_counter()
    text = Text.of(content, None)
    assert (len(text.names), text.defaults) == (10_001, {"b": "9999"})
    assert perf_counter() - begin < 2
