"""Positions a read waits for go to the service in requests it takes, none of them lost."""

from hypothesis import given
from hypothesis import strategies as st

from runstream.client.waits import BYTES_A_REQUEST, as_text, by_request


@given(st.dictionaries(st.text("abc@.%", min_size=1, max_size=3000), st.integers(1, 2**62), max_size=60))
def test_each_goes_in_one_request_and_none_is_larger_than_an_address_may_be(waits: dict[str, int]) -> None:
    parts = by_request(waits)
    together = {key: position for part in parts for key, position in part.items()}
    assert together == waits
    assert sum(map(len, parts)) == len(waits)
    for part in parts:
        assert len(as_text(part)) <= BYTES_A_REQUEST


def test_nothing_to_wait_for_is_one_empty_part() -> None:
    assert by_request({}) == [{}]
    assert as_text({}) == ""


def test_a_name_longer_than_a_request_still_goes() -> None:
    long = "x" * (BYTES_A_REQUEST + 1)
    assert by_request({"a": 1, long: 2, "z": 3}) == [{"a": 1}, {long: 2}, {"z": 3}]
