"""Names of runs that were given none."""

from __future__ import annotations

import random
from typing import Final

_FIRST: Final = (
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "crisp", "deft", "eager",
    "early", "even", "fair", "fleet", "fond", "gentle", "glad", "grand", "hardy", "honest", "keen", "kind",
    "lively", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "royal", "sharp", "silent", "smooth", "sober", "steady",
    "still", "stout", "subtle", "sunny", "swift", "tidy", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_SECOND: Final = (
    "alder", "ash", "badger", "beech", "birch", "bison", "cedar", "crane", "crow", "deer", "dove", "eagle", "elk",
    "elm", "falcon", "fern", "finch", "fir", "fox", "hare", "hawk", "hazel", "heron", "holly", "ibis", "ivy",
    "jay", "kite", "lark", "larch", "linden", "linnet", "lynx", "magpie", "maple", "marten", "mole", "moose",
    "newt", "oak", "otter", "owl", "perch", "pine", "plover", "quail", "raven", "reed", "robin", "rowan", "salmon",
    "seal", "shrew", "sloe", "snipe", "spruce", "stoat", "stork", "swan", "tern", "thrush", "trout", "vole",
    "willow", "wren",
)  # fmt: skip


def random_name() -> str:
    """A name that is easily told from others."""
    return f"{random.choice(_FIRST)}-{random.choice(_SECOND)}-{random.randint(0, 999)}"
