"""The search space: Hydra's sweep overrides as Optuna's distributions, and drawn values as overrides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep, Transformer
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lab_engine.base.errors import UserError

LOG = "log"
TAG = "the only tag is log, and it is for intervals: tag(log,interval(LOW,HIGH))"


@dataclass(frozen=True)
class Parameter:
    """One dimension of the space.

    Attributes:
        key: as on the command line, with "+" or "++" if it has one.
        distribution: of its values.
        texts: its choices as on the command line, in the distribution's order; empty for an interval or a range.
    """

    key: str
    distribution: BaseDistribution
    texts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the study."""
        return self.key.lstrip("+")

    def draw(self, trial: Trial) -> None:
        """Draw the parameter's value in `trial`; a value that was drawn before is kept."""
        numbers = self.distribution
        if isinstance(numbers, FloatDistribution):
            trial.suggest_float(self.name, numbers.low, numbers.high, step=numbers.step, log=numbers.log)
        elif isinstance(numbers, IntDistribution):
            trial.suggest_int(self.name, numbers.low, numbers.high, step=numbers.step, log=numbers.log)
        else:
            trial.suggest_categorical(self.name, self.choices)

    @property
    def choices(self) -> tuple[Any, ...]:
        """All its values; empty for an interval of floats."""
        listed = self.distribution
        if isinstance(listed, CategoricalDistribution):
            return tuple(listed.choices)
        if isinstance(listed, IntDistribution):
            return tuple(range(listed.low, listed.high + 1, listed.step))
        if isinstance(listed, FloatDistribution) and listed.step is not None:
            low, high, step = (Decimal(str(each)) for each in (listed.low, listed.high, listed.step))  # as in `_range`
            return tuple(float(low + step * number) for number in range(round((high - low) / step) + 1))
        return ()

    def override(self, value: Any) -> str:
        """Return a drawn value as an override, which Hydra reads as exactly this value."""
        text = self.texts[self.choices.index(value)] if self.texts else repr(value)
        return f"{self.key}={text}"


@dataclass(frozen=True)
class Space:
    """The overrides of a command line, with those to search over as parameters."""

    words: tuple[str | Parameter, ...]

    @property
    def parameters(self) -> list[Parameter]:
        """Its dimensions."""
        return [word for word in self.words if isinstance(word, Parameter)]

    def overrides(self, drawn: Mapping[str, Any]) -> list[str]:
        """Return the overrides of one trial, given its drawn values by name."""
        return [word if isinstance(word, str) else word.override(drawn[word.name]) for word in self.words]


def read_space(words: Sequence[str], config_loader: ConfigLoader | None = None) -> Space:
    """Parse the search space: `KEY=interval(…)`, `range(…)`, `choice(…)` or `A,B,…` in Hydra's grammar.

    `interval(…)` draws floats, `int(interval(…))` whole numbers, and `tag(log,interval(…))` uniformly on a logarithmic
    scale. A range leaves its end out, as in Hydra's grids.

    Args:
        words: overrides as on the command line.
        config_loader: Hydra's; needed for `GROUP=glob(…)`.

    Raises:
        UserError: there is nothing to search, a key is given twice, or a distribution is invalid, such as an empty
            interval.
    """
    read: list[str | Parameter] = []
    for override in OverridesParser.create(config_loader).parse_overrides(list(words)):
        if not override.is_sweep_override():
            read.append(str(override.input_line))
            continue
        try:
            read.append(_parameter(override))
        except ValueError as error:  # Optuna raises it, too
            raise UserError(f"{override.input_line} is refused: {error}") from error
    space = Space(tuple(read))
    names = [parameter.name for parameter in space.parameters]
    if not names:
        raise UserError("There is nothing to search: give KEY=interval(LOW,HIGH), range(START,STOP) or A,B,C.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{twice} is given twice: give all its values in one place.")
    return space


def _parameter(override: Override) -> Parameter:
    key, sweep = override.get_key_element(), override.value()
    if isinstance(sweep, IntervalSweep):
        return Parameter(key, _interval(sweep))
    if isinstance(sweep, Sweep) and sweep.tags:
        raise ValueError(TAG)
    elements = list(override.sweep_iterator())
    if not elements:
        raise ValueError("it holds no value")
    if isinstance(sweep, RangeSweep):
        return Parameter(key, _range(elements, sweep.step))
    return _choice(key, elements)


def _interval(sweep: IntervalSweep) -> BaseDistribution:
    if sweep.tags - {LOG}:
        raise ValueError(TAG)
    log = LOG in sweep.tags
    ends: tuple[Any, Any] = sweep.start, sweep.end
    whole = all(isinstance(end, int) for end in ends)
    return IntDistribution(*ends, log=log) if whole else FloatDistribution(*ends, log=log)


def _range(elements: Sequence[Any], step: float) -> BaseDistribution:
    if all(isinstance(element, int) for element in elements):
        return IntDistribution(min(elements), max(elements), step=abs(int(step)))
    width = abs(Decimal(str(step)))  # exact: rounding errors of floats would miss the last element
    low = Decimal(str(min(elements)))
    return FloatDistribution(float(low), float(low + (len(elements) - 1) * width), step=float(width))


def _choice(key: str, elements: Sequence[Any]) -> Parameter:
    values = {Transformer.str(element): getattr(element, "text", element) for element in elements}
    # A study cannot hold lists, and does not tell 1, 1.0 and true apart: it gets the texts of such choices.
    types = {type(value) for value in values.values()}
    plain = len(types) == 1 and types <= {str, bool, int, float}
    return Parameter(key, CategoricalDistribution(tuple(values.values()) if plain else tuple(values)), tuple(values))
