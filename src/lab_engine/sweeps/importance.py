"""The importance of each parameter of a sweep for the results."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lab_engine.sweeps.parameters import text
from lab_engine.sweeps.ranking import Ranking

MIN_GOOD_JOBS = 5  # Optuna's documentation asks for as many
MIN_JOBS = 2 * MIN_GOOD_JOBS


def importance(ranking: Ranking) -> dict[str, float] | None:
    """Compute how much each parameter separates the good jobs (the best tenth, at least five) from all jobs.

    The method is the PED-ANOVA of Watanabe, Bansal and Hutter (2023, arXiv 2304.10255), in Optuna's implementation.
    The seed is left out, because nobody chooses a seed for its result.

    Returns:
        Shares (0 to 1; their sum is 1), the largest first; None if there are too few jobs, nothing but seeds varies,
        or all results are equal.
    """
    jobs = [
        (group.parameters, job.metrics[ranking.metric])
        for group in ranking.groups
        for job in group.done
        if job.comparable and math.isfinite(job.metrics.get(ranking.metric, math.nan))
    ]
    values = [value for _, value in jobs]
    if len(jobs) < MIN_JOBS or len(set(values)) == 1 or not any(parameters for parameters, _ in jobs):
        return None
    return _shares([parameters for parameters, _ in jobs], values, maximize=ranking.mode == "max")


def _shares(
    parameters: Sequence[Mapping[str, Any]], values: Sequence[float], maximize: bool
) -> dict[str, float] | None:
    import optuna  # late: its import is slow, and most reports do without

    keys = dict.fromkeys(key for each in parameters for key in each)
    spaces = {key: _space([each[key] for each in parameters if key in each]) for key in keys}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize" if maximize else "minimize")
        study.add_trials(
            [
                optuna.create_trial(
                    params={key: _point(spaces[key], value) for key, value in each.items()},
                    distributions={key: spaces[key] for key in each},
                    value=value,
                )
                for each, value in zip(parameters, values, strict=True)
            ]
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, MIN_GOOD_JOBS / len(values)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parameters that only one job has; they rightly count little
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(level)
    return shares if sum(shares.values()) > 0 else None


def _space(values: Sequence[Any]) -> Any:
    import optuna.distributions

    if all(map(is_number, values)):
        return optuna.distributions.FloatDistribution(float(min(values)), float(max(values)), log=spans_decades(values))
    return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(map(text, values))))


def _point(space: Any, value: Any) -> Any:
    return text(value) if hasattr(space, "choices") else float(value)


def is_number(value: Any) -> bool:
    """Return whether a parameter's value is a finite number; true and false are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def spans_decades(values: Sequence[float]) -> bool:
    """Return whether numbers, such as learning rates, belong on a logarithmic scale: positive, a factor of 10 apart."""
    return 0 < min(values) <= max(values) / 10
