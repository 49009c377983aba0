"""Hydra plugins: the engine's own options, the launcher of jobs, and the sweepers.

Hydra imports this file at every start, so it imports only what the classes need to be found.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

import lab_engine


class EngineOptions(SearchPathPlugin):
    """Adds the engine's options after those of the project, which win where both have an option of the same name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the engine's folder."""
        search_path.append(provider="lab_engine", path=f"file://{lab_engine.CONF}")


class JobLauncher(Launcher):
    """Runs each job in a process of its own, on this machine or another, as `launcher` says; for any sweeper."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives; `task_function` is a `Jobs`, which the processes of jobs do not call."""
        self.context, self.config = hydra_context, config
        self.jobs: Any = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; one that fails returns NaN, and the others continue."""
        from lab_engine.sweeps.controller import Controller, result

        controller = Controller(self.context, self.config, self.jobs)
        jobs = controller.run_grid(job_overrides, initial_job_idx)
        return [
            JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=result(job, controller.metric))
            for job in jobs
        ]


class GridSweeper(BasicSweeper):
    """Runs all combinations of the given values."""

    def validate_batch_is_legal(self, batch: Any) -> None:
        """Check nothing, because `JobLauncher` checks all jobs before it starts the first."""


class SearchSweeper(Sweeper):
    """Runs values that an Optuna study chooses, trial by trial."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.context, self.sweep_config = hydra_context, config
        self.jobs: Any = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Run the search."""
        from lab_engine.sweeps.controller import Controller
        from lab_engine.sweeps.search import SearchPlan

        Controller(self.context, self.sweep_config, self.jobs).run_search(arguments, SearchPlan)
