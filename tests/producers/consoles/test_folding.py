"""Folding: what a terminal would show stays, and of a progress bar a state every few seconds."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runstream.consoles.folding import Bounded, Folding, folded


def screen(text: bytes) -> list[bytes]:
    """The rows a terminal of endless width and height shows, for the sequences that are folded."""
    rows: list[list[int]] = [[]]
    row = column = 0
    for token in re.findall(rb"\x1b\[\d*[A-Z]|[\s\S]", text):
        if token == b"\n":
            row, column = row + 1, 0
        elif token == b"\r":
            column = 0
        elif token[:1] == b"\x1b":
            count = int(token[2:-1] or b"0")
            if token.endswith(b"A"):
                row = max(0, row - max(count, 1))
            elif token.endswith(b"K"):
                del rows[row][column if count == 0 else 0 :]
        else:
            rows[row][column : column + 1] = token
            column += 1
        while len(rows) <= row:
            rows.append([])
    return [bytes(cells).rstrip() for cells in rows]


def fold(pieces: list[bytes], seconds: float = 0.0) -> bytes:
    folding, now = Folding(), 0.0
    kept = []
    for piece in pieces:
        kept.append(folding.feed(piece, now))
        now += seconds
    return b"".join([*kept, folding.flush()])


def test_lines_that_nothing_overwrites_pass_as_they_are_and_at_once() -> None:
    folding = Folding()
    for piece in (b"one\n", b"\x1b[31mred\x1b[0m and ", b"more\n", b"windows\r\n", b"", b"no end"):
        assert folding.feed(piece, 0.0) == piece
    assert folding.flush() == b""


def test_of_a_bar_the_last_state_is_kept_and_one_every_two_seconds() -> None:
    states = [b"\r%3d%%|%s|" % (n, b"#" * (n // 10)) for n in range(101)]
    kept = fold([b"begin\n", *states, b"\nend\n"], 0.1)
    assert screen(kept) == screen(b"".join([b"begin\n", *states, b"\nend\n"]))
    assert 5 <= kept.count(b"\r") <= 8
    assert fold([*states, b"\n"]).count(b"%") <= 3


def test_a_bar_of_a_million_states_takes_little(tmp_path: object) -> None:
    folding = Folding()
    kept = sum(len(folding.feed(b"\r%d of 1000000" % n, n * 0.01)) for n in range(100_000))
    assert kept < 100_000


def test_bars_below_one_another_keep_their_rows() -> None:
    pieces = [b"\r outer 0", b"\n"]
    for n in range(50):
        pieces += [b"\n", b"\r inner %d" % n, b"\x1b[A", b"\r outer %d" % (n // 10)]
    whole = [*pieces, b"\n", b"\n", b"done\n"]
    assert screen(fold(whole, 0.05)) == screen(b"".join(whole))
    assert len(fold(whole, 0.05)) < len(b"".join(whole)) / 2


def test_what_overwrites_a_line_keeps_its_colours() -> None:
    red, yellow = b"\x1b[31mred\x1b[0m", b"\x1b[33m2%\x1b[0m"
    kept = fold([b"bar\r", red + b"\r\n", b"\r\x1b[32m1%", b"\r" + yellow + b"\n"])
    assert red in kept
    assert yellow in kept


def test_lines_that_are_erased_are_erased() -> None:
    whole = [b"a\n", b"working", b"\x1b[2K\r", b"done\n", b"x\ny\n", b"\x1b[2A", b"\x1b[2K", b"z\n"]
    assert screen(fold(whole)) == screen(b"".join(whole))


TEXT = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\x1b[A",
        b"\x1b[2A",
        b"\x1b[2K\r",
        b"ab",
        b"longer",
        b"x",
        b"\x1b[32m",
        b"\r\n",
        b"12345678",
    ]
)


@given(st.lists(st.lists(TEXT, max_size=6).map(b"".join), max_size=30), st.sampled_from([0.0, 0.3, 3.0]))
@example([b"\n\x1b[32m\x1b[A"], 0.0)
@example([b"\r", b"\n"], 0.0)
def test_whatever_comes_nothing_is_lost_that_nothing_overwrites(pieces: list[bytes], seconds: float) -> None:
    kept = fold(pieces, seconds)
    whole = b"".join(pieces)
    if not re.search(rb"\r(?!\n)|\x1b\[\d*[AK]", whole):
        # A return that came in another piece than its line's end has nothing to overwrite, and may go.
        assert kept.replace(b"\r\n", b"\n") == whole.replace(b"\r\n", b"\n")
    rows = screen(whole)
    while rows and not rows[-1].replace(
        b"[32m", b""
    ):  # a colour alone shows nothing, wherever it is switched on
        rows.pop()
    assert kept.count(b"\n") >= len(rows) - 1
    assert kept.count(b"\x1b[32m") >= (1 if whole.endswith(b"\x1b[32m") else 0)


@given(st.lists(st.integers(0, 3), max_size=12))
def test_bars_in_any_rows_end_as_a_terminal_shows_them(rows: list[int]) -> None:
    whole = [b"\n" * 4, b"\x1b[4A"]
    for number, row in enumerate(rows):
        whole += [b"\n" * row, b"\rbar %d at %02d" % (row, number), b"\x1b[%dA" % row if row else b"", b"\r"]
    whole += [b"\n" * 4, b"end\n"]
    assert screen(fold(whole, 0.1)) == screen(b"".join(whole))


def test_a_bound_is_kept_to_the_byte_and_said_once() -> None:
    text = Bounded(10)
    assert text.feed(b"12345\n", 0.0) == b"12345\n"
    cut = text.feed(b"67890\n", 0.0)
    assert cut.startswith(b"6789\n[runstream: 10 bytes of the console are kept")
    assert cut.endswith(b"RUNSTREAM_CONSOLE_LIMIT sets how many]\n")
    assert text.full
    assert text.feed(b"more", 1.0) + text.flush() == b""


@pytest.mark.parametrize("limit", [1 << 20, 100])
def test_a_file_is_folded_as_a_stream_is(tmp_path: object, limit: int) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "log"
    path.write_bytes(b"passed over\n" + b"".join(b"\r%d%%" % n for n in range(1000)) + b"\nend\n")
    with folded(path, limit, 12) as stream:
        assert screen(stream.read()) == [b"999%", b"end", b""]
