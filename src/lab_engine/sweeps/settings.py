"""The settings of a sweep as a whole: `launcher` and `sweeper`."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from lab_engine.config.check import check
from lab_engine.config.command_line import OF_THE_SWEEP
from lab_engine.config.directions import fill_sweeper, with_metrics
from lab_engine.sweeps.schema import SearchConfig, SweepConfig

Config = dict[str, Any]


def check_sweep(config: DictConfig) -> Config:
    """Return `launcher` and `sweeper`, resolved and checked; metric and direction default to the task's."""
    plain: Config = {key: OmegaConf.to_container(config[key], resolve=True) for key in OF_THE_SWEEP}
    parts: Config = {key: OmegaConf.to_container(config[key]) for key in ("task", "metrics") if key in config}
    plain["sweeper"] = fill_sweeper(plain["sweeper"], with_metrics(parts, [plain["sweeper"].get("metric")]))
    return check(plain, SearchConfig if "sampler" in plain["sweeper"] else SweepConfig)
