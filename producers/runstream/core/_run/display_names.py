"""Names for people, made up for runs that were given none: adjective_noun_code."""

from __future__ import annotations

import secrets

_ADJECTIVES = """
    amber bold brave bright brisk calm clear clever coral crisp dapper eager early fair fleet fond
    gentle glad golden good green happy honest icy jolly keen kind lively lucid lucky mellow merry mild
    neat nimble noble olive patient plucky polite proud purple quick quiet rapid red rosy sharp silver
    sincere smart snowy soft solid steady sunny sweet tidy true upbeat vivid warm wise witty zesty
""".split()  # noqa: SIM905 - words, not syntax
_NOUNS = """
    acorn apple arch atlas badge basin beach bear birch bridge brook candle canyon cedar cherry cliff
    cloud clover comet cove crane dune eagle ember fern fig finch forest fox garden grape harbor hazel
    heron hill island ivy lake lantern leaf lemon lily lion maple meadow moon moss oak ocean olive
    orchid otter owl peach pear pine plum pond quince rain reef river robin sail sea shore sky sparrow
    spring star stone stream sun thistle tulip valley wave willow wind
""".split()  # noqa: SIM905 - words, not syntax


_LETTERS = "bcdfghjkmnpqrstvwxz0123456789"
_LENGTH = 6


def make_display_name() -> str:
    """A new name such as `quiet_heron_k3v9x2`."""
    # One number for all of it: each random choice of its own would ask the system again.
    number = secrets.randbelow(len(_ADJECTIVES) * len(_NOUNS) * len(_LETTERS) ** _LENGTH)
    number, adjective = divmod(number, len(_ADJECTIVES))
    number, noun = divmod(number, len(_NOUNS))
    code = ""
    for _ in range(_LENGTH):
        number, letter = divmod(number, len(_LETTERS))
        code += _LETTERS[letter]
    return f"{_ADJECTIVES[adjective]}_{_NOUNS[noun]}_{code}"
