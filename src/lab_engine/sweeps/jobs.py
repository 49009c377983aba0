"""The task function of a sweep, which Hydra's launchers call for each job."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lab_engine.config.command import Command, to_plain
from lab_engine.config.command_line import given_twice
from lab_engine.config.explain import user_errors
from lab_engine.runs.running import run_in_folder


@dataclass
class Jobs:
    """Hydra's own launchers call it; the engine's launchers start processes, and read its attributes.

    Attributes:
        command: that each job runs.
        words: of the command line that started the sweep.
        started: run folders of the jobs of the engine's launchers.
    """

    command: Command
    words: list[str]
    started: set[Path] = field(default_factory=set)

    def __call__(self, composed: DictConfig) -> Any:
        """Run a job in this process, and return the task's `monitor` metric."""
        hydra = HydraConfig.get()
        with user_errors():  # else Hydra would report the error as well
            config = self.command.checked(to_plain(composed, hydra, hydra.runtime.output_dir))
            for line in given_twice(self.words) if hydra.job.num == 0 else ():
                print(line, file=sys.stderr)  # noqa: T201
            return run_in_folder(self.command, config).get(config.get("task", {}).get("monitor"))
