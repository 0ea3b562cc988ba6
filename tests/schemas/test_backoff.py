"""Growing pauses."""

from __future__ import annotations

from itertools import islice

from runstream_schemas.backoff import Backoff


def test_pauses_grow_up_to_the_most_and_begin_again() -> None:
    pauses = Backoff(0.5, 3.0)
    assert list(islice(pauses, 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]
    pauses.reset()
    assert next(pauses) == 0.5
    assert list(islice(Backoff(1.0, 2.0, 1.5), 3)) == [1.0, 1.5, 2.0]
