"""Parameters: their JSON texts keep value and type, and what holds does not depend on the order of arrival."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runstream_schemas.limits import MAX_PARAM_BYTES
from runstream_schemas.runs import params
from runstream_schemas.runs.params import KINDS, Origin, ParamWrite, as_stored, fold

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
INTS = st.integers(-(2**63), 2**63 - 1)
FINITE = st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
LISTS = st.lists(
    st.recursive(
        FINITE,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)
VALUES = FINITE | st.floats() | LISTS


@given(VALUES)
def test_a_value_comes_back_with_its_type(value: Any) -> None:
    text = params.encode(value)
    assert params.encode(params.decode(text)) == text
    kind, shown, number = as_stored(text)
    back = params.value_of({"kind": KINDS[kind], "text": shown})
    assert params.encode(back) == text
    assert type(back) is type(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        assert number == float(value)
    assert params.from_stored(KINDS[kind], shown) == text


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "{", "[1", str(2**63), "1e999", '"\\ud800"', '"\\u0000"', '["\\u0000"]', "[NaN]", "-NaN",
     '{"a": 1, "a": 2}', "[" * 3000 + "]" * 3000, '"' + "x" * MAX_PARAM_BYTES + '"'],
)  # fmt: skip
def test_what_cannot_be_a_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        params.decode(text)


def test_a_backslash_before_u0000_is_no_null() -> None:
    assert params.decode('"\\\\u0000"') == "\\u0000"


@pytest.mark.parametrize(
    ("this", "other", "same"),
    [("1", "1.0", True), ("1", "true", False), ("0.0", "-0.0", True), ("NaN", "NaN", True), ('"1"', "1", False),
     ("9007199254740993", "9007199254740992.0", False), ("null", '"null"', False), ("Infinity", "1.0", False)],
)  # fmt: skip
def test_numbers_are_the_same_by_value(this: str, other: str, same: bool) -> None:
    assert params.same(this, other) is params.same(other, this) is same


@pytest.mark.parametrize(
    ("words", "parsed"),
    [
        (["--lr", "0.5", "--epochs", "3", "--fast"], {"lr": "0.5", "epochs": "3", "fast": "true"}),
        (["--lr=0.5", "data.csv", "-x", "1e-3"], {"lr": "0.5", "x": "0.001"}),
        (["--a", "-1", "--b", "--c", "x y"], {"a": "-1", "b": "true", "c": '"x y"'}),
        (["--seed", "007", "--big", "9" * 30, "--plus", "+5"], {"seed": '"007"', "big": f'"{"9" * 30}"', "plus": '"+5"'}),
        (["--a", "1", "--a", "2", "--e", "", "--f="], {"a": "1", "e": '""', "f": '""'}),
        (["--flag", True, "--n", 4, "--x", 0.25, "--none", None],
         {"flag": '"true"', "n": "4", "x": "0.25", "none": '"null"'}),
        (["--nan", "nan", "--inf", "inf", "--huge", "1e999"], {"nan": '"nan"', "inf": '"inf"', "huge": '"1e999"'}),
        (["--", "x", "-1", "y", "--=x"], {}),
        (["--" + "n" * 1025, "1", "--ok", "x" * 70_000, "--nul\0", "2", "--t", "\0"], {}),
    ],
)  # fmt: skip
def test_arguments_of_a_script(words: list[Any], parsed: dict[str, str]) -> None:
    assert params.of_arguments(words) == parsed


def test_what_a_sweep_gave_comes_before_arguments() -> None:
    details = {"runDefinition": {"arguments": ["--lr", "1", "--seed", "5"]}}
    given = params.given(details, {"sweep_parameters": '{"lr": 0.5, "net": "deep", "none": null, "l": [1]}'})
    assert given == {
        "lr": (Origin.SWEEP, "0.5"),
        "seed": (Origin.ARGUMENTS, "5"),
        "net": (Origin.SWEEP, '"deep"'),
        "none": (Origin.SWEEP, "null"),
        "l": (Origin.SWEEP, "[1]"),
    }
    for odd in (None, 3, [], {"runDefinition": 3}, {"runDefinition": {"arguments": "x"}}):
        assert params.given(odd, odd if isinstance(odd, dict) else {"sweep_parameters": "no JSON"}) == {}


def write(value: str, time: int, origin: int = Origin.LOGGED, source: str = "a" * 32) -> ParamWrite:
    return ParamWrite(value, origin, time, source, time)


def test_the_first_logged_value_holds() -> None:
    first, second, again = write("1", 10), write("2", 20, source="b" * 32), write("1.0", 30)
    for order in itertools.permutations([first, second, again]):
        folded = fold(order)
        assert (folded.held, folded.replaced, folded.refused) == (first, [], [second])


def test_the_last_that_was_overwritten_holds_and_the_others_are_kept() -> None:
    first, second, third = (
        write("1", 10),
        write("2", 20, Origin.OVERWRITTEN),
        write("3", 30, Origin.OVERWRITTEN),
    )
    old, late = write("2", 40), write("4", 50)
    for order in itertools.permutations([first, second, third, old, late]):
        folded = fold(order)
        assert (folded.held, folded.replaced, folded.refused) == (third, [first, second], [late])


def test_what_is_logged_comes_before_what_was_given() -> None:
    argument, sweep, logged = write("1", 10, Origin.ARGUMENTS), write("2", 20, Origin.SWEEP), write("3", 30)
    assert fold([argument, sweep]).held == sweep
    for order in itertools.permutations([argument, sweep, logged]):
        folded = fold(order)
        assert (folded.held, folded.replaced, folded.refused) == (logged, [], [])


writes = st.builds(
    write,
    st.sampled_from(["1", "1.0", "2", '"1"']),
    st.integers(0, 20),
    st.sampled_from(list(Origin)),
    st.sampled_from(["a" * 32, "b" * 32]),
)


@settings(max_examples=300)
@given(
    st.lists(writes, min_size=1, max_size=7, unique_by=lambda write: write.age),
    st.randoms(use_true_random=False),
)
def test_arriving_one_by_one_or_at_once_gives_the_same(events: list[ParamWrite], shuffled: Any) -> None:
    """What is stored of the earlier ones is enough, in whatever order they come."""
    at_once = fold(events)
    shuffled.shuffle(events)
    stored: list[ParamWrite] = []
    for event in events:
        folded = fold([*stored, event])
        stored = [folded.held, *folded.replaced, *folded.refused]
    one_by_one = fold(stored)
    assert one_by_one.held.value == at_once.held.value
    assert one_by_one.held.age == at_once.held.age
    assert one_by_one.replaced == at_once.replaced
    assert {write.value for write in one_by_one.refused} == {write.value for write in at_once.refused}


def test_a_value_overwritten_for_ever_takes_bounded_room() -> None:
    stored = [write("0", 0)]
    for number in range(1, 500):
        folded = fold([*stored, write(str(number), number, Origin.OVERWRITTEN)])
        stored = [folded.held, *folded.replaced, *folded.refused]
    assert len(stored) <= params.KEPT + 1
    assert (stored[0].value, stored[1].value) == ("499", "0")
