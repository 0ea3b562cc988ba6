"""A random forest finds what was put in, and nothing else."""

from __future__ import annotations

import math
import random

import pytest

from runstream_query.importance.forest import weigh


def columns(runs: int) -> tuple[list[float], dict[str, list[float | str | None]]]:
    """Runs whose loss comes of their learning rate and optimizer, and of no seed."""
    dice = random.Random(1)
    rates = [10 ** dice.uniform(-4, -1) for _ in range(runs)]
    optimizers = [dice.choice(["adam", "lion", "sgd"]) for _ in range(runs)]
    losses = [
        abs(math.log10(rate) + 4) + {"adam": 0.0, "lion": 0.3, "sgd": 0.6}[optimizer]
        for rate, optimizer in zip(rates, optimizers, strict=True)
    ]
    seeds = [float(dice.randrange(1 << 40)) for _ in range(runs)]
    return losses, {"lr": [*rates], "optimizer": [*optimizers], "seed": [*seeds]}


def test_what_matters_is_found_and_what_does_not_weighs_next_to_nothing() -> None:
    losses, params = columns(120)
    weights = weigh(losses, [*params.values()])
    weighed = dict(zip(params, weights.importances, strict=True))
    assert sum(weighed.values()) == pytest.approx(1)
    assert weighed["lr"] > 0.7
    assert weighed["lr"] > weighed["optimizer"] > 5 * weighed["seed"]
    assert weights.r2 > 0.8
    rising, of_category, of_seed = weights.correlations
    assert rising is not None
    assert rising > 0.8
    assert of_category is None
    assert of_seed is not None
    assert abs(of_seed) < 0.3


def test_the_same_runs_have_the_same_answer() -> None:
    losses, params = columns(30)
    assert weigh(losses, [*params.values()]) == weigh(losses, [*params.values()])


def test_chance_is_seen_by_what_the_parameters_predict() -> None:
    dice = random.Random(2)
    weights = weigh(
        [dice.random() for _ in range(60)], [[dice.random() for _ in range(60)] for _ in range(5)]
    )
    assert weights.r2 < 0.2


def test_only_the_order_of_numbers_counts() -> None:
    """So neither a run that diverged nor an infinite value, nor integers no float of 32 bits tells apart, hide the rest."""
    losses, params = columns(60)
    rates = [float(rate) for rate in params["lr"] if isinstance(rate, float)]
    wide = [rate * 1e300 if rate < max(rates) else math.inf for rate in rates]
    far = [math.exp(loss * 100) for loss in losses]
    assert weigh(far, [wide, params["seed"]]) == weigh(losses, [rates, params["seed"]])


def test_whether_a_run_has_a_parameter_may_be_what_matters() -> None:
    losses = [1.0 + place / 1000 if place % 2 else place / 1000 for place in range(40)]
    dropout: list[float | str | None] = [0.5 if place % 2 else None for place in range(40)]
    noise: list[float | str | None] = [random.Random(place).random() for place in range(40)]
    weights = weigh(losses, [dropout, noise])
    assert weights.importances[0] > 0.8
    assert weights.correlations[0] is None  # one value has no order


def test_where_nothing_matters_the_weights_are_numbers_all_the_same() -> None:
    weights = weigh([0.0, 1.0] * 4, [[float(place) for place in range(8)]])
    assert all(0 <= weight <= 1 for weight in weights.importances)
    assert math.isfinite(weights.r2)
