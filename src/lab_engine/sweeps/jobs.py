"""What Hydra is given to call for each job of a sweep."""

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
    """Hydra's own launchers call it; ours start processes, and find here what they need.

    Attributes:
        command: that each job runs.
        words: of the command line, with which the sweep was started.
        begun: run folders of the jobs that our launchers were asked for.
    """

    command: Command
    words: list[str]
    begun: set[Path] = field(default_factory=set)

    def __call__(self, composed: DictConfig) -> Any:
        """Run a job in this process; returns the metric that is watched."""
        hydra = HydraConfig.get()
        with user_errors():  # else Hydra would tell of it as well
            config = self.command.checked(to_plain(composed, hydra, hydra.runtime.output_dir))
            for line in given_twice(self.words) if hydra.job.num == 0 else ():
                print(line, file=sys.stderr)  # noqa: T201
            return run_in_folder(self.command, config).get(config.get("task", {}).get("monitor"))
