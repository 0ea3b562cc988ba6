"""The process that weighs parameters: a random forest learns the metric from them, and loses what each one told it.

It is a process and not a thread because scikit-learn cannot be interrupted, takes a second to load and then stays: this one
is killed when it is late. It reads one JSON object, `{"numbers": [...], "columns": [[...], ...]}`, and answers with one.

Numbers count by their order, those of parameters and those of the metric: a run that diverged to 1e30 weighs no more than
another, a learning rate needs no logarithm, and infinity is a number. A run that lacks a parameter stands below all others.
Each run is predicted only by the trees that did not learn from it (out of bag), so what a forest merely remembers counts
for nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TREES = 100
REPEATS, REPEATS_OF_MANY = 10, 3
"""How often the values of a parameter are shuffled; of a table with more values than `MANY` the second number."""
MANY = 10_000
SEED = 0
"""Fixed: the same runs have the same answer."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a forest says of each parameter.

    Attributes:
        r2: how well the forest predicts runs it did not learn from; 1 is all, 0 or less nothing.
        importances: adding up to 1, or all 0 where nothing matters.
        correlations: Spearman's, of numbers; None: there is none.
    """

    r2: float
    importances: list[float]
    correlations: list[float | None]


def weigh(numbers: Sequence[float], columns: Sequence[Sequence[float | str | None]]) -> Weights:
    """Weigh the columns by what they tell of the numbers, of which there are two different ones at least.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    from scipy.stats import rankdata
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score

    aim = rankdata(np.asarray(numbers, dtype=np.float64)) / len(numbers)
    places = np.column_stack([_places(column) for column in columns]).astype(np.float32)
    forest = RandomForestRegressor(n_estimators=TREES, random_state=SEED, n_jobs=1).fit(places, aim)
    unseen = np.ones((TREES, len(aim)), dtype=bool)
    for tree, learnt in enumerate(forest.estimators_samples_):
        unseen[tree, learnt] = False
    votes = unseen.sum(axis=0)
    judged = votes > 0

    def out_of_bag(_: Any, table: Any, aims: Any) -> float:
        said = np.stack([tree.tree_.predict(table)[:, 0] for tree in forest.estimators_])
        means = (said * unseen).sum(axis=0)[judged] / votes[judged]
        return float(r2_score(aims[judged], means))

    repeats = REPEATS if places.size <= MANY else REPEATS_OF_MANY
    lost = permutation_importance(
        forest, places, aim, scoring=out_of_bag, n_repeats=repeats, random_state=SEED, n_jobs=1
    )
    weights = np.maximum(lost.importances_mean, 0.0)
    total = float(weights.sum())
    return Weights(
        r2=out_of_bag(forest, places, aim),
        importances=(weights / total if total > 0 else weights).tolist(),
        correlations=[_correlation(column, aim) for column in columns],
    )


def _places(column: Sequence[float | str | None]) -> np.ndarray[Any, Any]:
    """Values by their order, from 0; one that is missing is -1."""
    present: set[Any] = {value for value in column if value is not None}  # all numbers, or all texts
    order = {value: place for place, value in enumerate(sorted(present))}
    return np.array([-1 if value is None else order[value] for value in column])


def _correlation(column: Sequence[float | str | None], aim: np.ndarray[Any, Any]) -> float | None:
    from scipy.stats import spearmanr

    there = [place for place, value in enumerate(column) if value is not None]
    values = [column[place] for place in there]
    if any(isinstance(value, str) for value in values) or len(set(values)) < 2 or np.ptp(aim[there]) == 0:
        return None
    return float(spearmanr(values, aim[there]).statistic)


def main() -> None:
    """Answer the one question on standard input."""
    asked = json.load(sys.stdin)
    json.dump(asdict(weigh(asked["numbers"], asked["columns"])), sys.stdout)


if __name__ == "__main__":
    main()
