"""The fast reader of forms and queries is the standard library's, only faster."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.gateways.urlencoded import pairs


@given(st.text(st.sampled_from("%0123456789abcdefABCDEF=&+ \n\r\t_é\x00") | st.characters(), max_size=60))
@example("a=%C3%A9&b=%ff&=x&y&&c=%")
@example("a=%\n1&b=%\r\n2&c=%20\n&d=x= %3d")
@example("a=%%41&b=%4&c=%zz&d=%3D=%3D")
def test_it_reads_what_the_standard_library_reads(text: str) -> None:
    assert pairs(text) == parse_qsl(text, keep_blank_values=True)


@pytest.mark.parametrize("text", ["", "&", "&&&"])
def test_nothing_is_no_pairs(text: str) -> None:
    assert pairs(text) == []
