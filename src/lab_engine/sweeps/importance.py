"""How much each parameter of a sweep mattered."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lab_engine.sweeps.parameters import text
from lab_engine.sweeps.ranking import Ranking

TOP = 5  # jobs that count as good, at least; Optuna's documentation asks for as many
FEWEST = 2 * TOP  # jobs of which anything can be said


def importance(ranking: Ranking) -> dict[str, float] | None:
    """Share of each parameter in what tells the good jobs, the best tenth and at least five, from all jobs.

    It is the PED-ANOVA of Watanabe, Bansal and Hutter (2023, arXiv 2304.10255), as Optuna computes it. The seed is left
    out: it is no choice.

    Returns:
        Shares (0 to 1; their sum is 1), the largest first, or None where there are too few jobs, nothing but seeds
        varies, or all jobs are equally good.
    """
    jobs = [
        (group.parameters, job.metrics[ranking.metric])
        for group in ranking.groups
        for job in group.done
        if job.comparable and math.isfinite(job.metrics.get(ranking.metric, math.nan))
    ]
    values = [value for _, value in jobs]
    if len(jobs) < FEWEST or len(set(values)) == 1 or not any(parameters for parameters, _ in jobs):
        return None
    return _shares([parameters for parameters, _ in jobs], values, maximize=ranking.mode == "max")


def _shares(
    parameters: Sequence[Mapping[str, Any]], values: Sequence[float], maximize: bool
) -> dict[str, float] | None:
    import optuna  # only now: importing it takes longer than all the rest of a report

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
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, TOP / len(values)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that only one job has: they count little, as they should
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
    """Whether a parameter's value has an order."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def spans_decades(values: Sequence[float]) -> bool:
    """Whether numbers, such as learning rates, are best compared by their ratio."""
    return 0 < min(values) <= max(values) / 10
