"""Which parameters the next trial gets: all of a grid, random ones, or those an Optuna study suggests.

A search is asked for the parameters of trials in the order of their numbers, until it has no more; adopts trials of an
earlier driver that are not finished; and is told of every trial that has ended, also of one it was not asked for.
"""

from __future__ import annotations

import math
import random
from typing import Any, TypeAlias

from ..exceptions import UserErrorException
from .space import Choice, Distribution, Integer, LogUniform, Quantized, Space, Uniform
from .stopping import Curve
from .trial import Aim, Trial


class GridSearch:
    """Every combination, the last parameter changing first."""

    def __init__(self, space: Space) -> None:
        axes = []
        for name, item in space.items():
            values = item.grid()
            if values is None:
                raise UserErrorException(
                    f"parameter {name!r}: a grid needs a list of values, or a step, not {item}"
                )
            axes.append([(name, value) for value in values])
        self.size = math.prod(map(len, axes))
        self._axes = axes

    def ask(self, number: int) -> dict[str, Any] | None:
        """The combination of that number."""
        if number >= self.size:
            return None
        chosen = []
        for axis in reversed(self._axes):
            number, place = divmod(number, len(axis))
            chosen.append(axis[place])
        return dict(reversed(chosen))

    def adopt(self, trial: Trial) -> None:
        """It makes no difference."""

    def tell(self, trial: Trial, curve: Curve) -> None:
        """It makes no difference."""


class RandomSearch:
    """Independent samples; those of a number depend on the seed only, so that a sweep resumes where it was."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def ask(self, number: int) -> dict[str, Any] | None:
        """The sample of that number."""
        rng = random.Random(f"{self._seed}/{number}")
        return {name: item.sample(rng) for name, item in self._space.items()}

    def adopt(self, trial: Trial) -> None:
        """It makes no difference."""

    def tell(self, trial: Trial, curve: Curve) -> None:
        """It makes no difference."""


class OptunaSearch:
    """What an Optuna study suggests. The study is in memory: stored runs bring it back.

    Args:
        space: what is varied.
        aim: what the study is after.
        sampler: an Optuna sampler; None: Optuna's default, the tree-structured Parzen estimator.
        seed: the seed of the default sampler.
        pruner: an Optuna pruner, or None.

    Raises:
        UserErrorException: Optuna is not installed, or has no such distribution.
    """

    def __init__(self, space: Space, aim: Aim, sampler: Any, seed: int, pruner: Any = None) -> None:
        try:
            import optuna
        except ImportError as error:
            raise UserErrorException(
                "the methods but 'grid' and 'random' need Optuna: pip install 'runstream[sweep]'"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            direction=aim.goal,
            sampler=sampler or optuna.samplers.TPESampler(seed=seed % 2**32),
            pruner=pruner or optuna.pruners.NopPruner(),
        )
        self._optuna = optuna
        self._space = {name: _distribution(optuna, name, item) for name, item in space.items()}
        self._choices = {name: item.values for name, item in space.items() if isinstance(item, Choice)}
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, Any] | None:
        """What the study suggests now."""
        self._asked[number] = trial = self.study.ask(self._space)
        return {
            name: self._choices[name][value] if name in self._choices else value
            for name, value in trial.params.items()
        }

    def adopt(self, trial: Trial) -> None:
        """Take its parameters for a suggestion."""
        self.study.enqueue_trial(self._params(trial))
        self._asked[trial.number] = self.study.ask(self._space)

    def tell(self, trial: Trial, curve: Curve) -> None:
        """Tell the study what became of a suggestion, or of one of an earlier driver's."""
        states = self._optuna.trial.TrialState
        good = trial.value is not None and math.isfinite(trial.value)
        state = states.FAIL
        if trial.status == "Completed" and good:
            state = states.COMPLETE
        elif trial.stopped:
            state = states.PRUNED
        asked = self._asked.pop(trial.number, None)
        if asked is None:
            self.study.add_trial(
                self._optuna.trial.create_trial(
                    state=state,
                    params=self._params(trial),
                    distributions=self._space,
                    value=trial.value if state is states.COMPLETE else None,
                    intermediate_values=dict(curve),
                )
            )
        else:
            self.study.tell(asked, trial.value if state is states.COMPLETE else None, state)

    def prunes(self, number: int, step: int, value: float) -> str | None:
        """What the study's pruner says of a point."""
        trial = self._asked[number]
        trial.report(value, step)
        return (
            f"pruned at step {step} by {type(self.study.pruner).__name__}" if trial.should_prune() else None
        )

    def _params(self, trial: Trial) -> dict[str, Any]:
        return {
            name: self._choices[name].index(value) if name in self._choices else value
            for name, value in trial.parameters.items()
        }


def _distribution(optuna: Any, name: str, item: Distribution) -> Any:
    kinds = optuna.distributions
    if isinstance(item, Choice):  # by place: Optuna takes scalars only, and 1, 1.0 and True for the same
        return kinds.CategoricalDistribution(range(len(item.values)))
    if isinstance(item, Integer):
        return kinds.IntDistribution(item.low, item.high, log=item.log, step=1 if item.log else item.step)
    if isinstance(item, LogUniform):
        return kinds.FloatDistribution(item.low, item.high, log=True)
    if isinstance(item, Uniform):
        return kinds.FloatDistribution(item.low, item.high, step=item.step)
    if isinstance(item, Quantized) and isinstance(item.of, Uniform):
        low, high = item.rounded(item.of.low), item.rounded(item.of.high)
        if isinstance(item.step, int):
            return kinds.IntDistribution(low, high, step=item.step)
        return kinds.FloatDistribution(low, high, step=item.step)
    raise UserErrorException(
        f"parameter {name!r}: Optuna has no distribution like {item}; use one with bounds, or method='random'"
    )


Search: TypeAlias = GridSearch | RandomSearch | OptunaSearch


def search_of(method: Any, space: Space, aim: Aim, seed: int, pruner: Any = None) -> Search:
    """The search a method means: `grid`, `random`, `optuna`, or an Optuna sampler.

    Raises:
        UserErrorException: another method, a space without a grid, or Optuna is not installed.
    """
    if method == "grid":
        return GridSearch(space)
    if method == "random":
        return RandomSearch(space, seed)
    if method == "optuna" or hasattr(method, "sample_relative"):
        return OptunaSearch(space, aim, None if method == "optuna" else method, seed, pruner)
    raise UserErrorException(
        f"method {method!r:.80}: expected 'grid', 'random', 'optuna', or an Optuna sampler"
    )
