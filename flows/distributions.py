"""The space of a sweep as Optuna's distributions."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from flows.search_space import Space, is_whole
from flows.sweep_config import Choice, Range


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The distribution of each key: numbers of a range, or one of a list."""
    return {key: _distribution(key, values) for key, values in space.items()}


def _distribution(key: str, values: list[Choice] | Range) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if is_whole(key):
        return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))
    return FloatDistribution(float(values.low), float(values.high), log=values.log, step=values.step)
