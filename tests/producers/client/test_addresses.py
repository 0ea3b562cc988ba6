"""What goes into the address of a request fits there."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstream.client.addresses import BYTES_OF_VALUES, portions
from runstream.exceptions import UserErrorException


@given(st.lists(st.text("aä/☃&% ", max_size=3000), max_size=40), st.integers(1, 9))
def test_values_come_in_portions_that_fit_each_once_and_in_order(values: list[str], most: int) -> None:
    made = list(portions(values, most))
    assert [value for portion in made for value in portion] == values
    for portion in made:
        assert 0 < len(portion) <= most
        size = len(urlencode([("", value) for value in portion])) - 2 * len(portion) + 1
        assert len(portion) == 1 or size <= BYTES_OF_VALUES


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UserErrorException, match="lone surrogates"):
        list(portions(["a", "\ud800"], 9))
