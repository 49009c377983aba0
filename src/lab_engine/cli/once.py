"""A command without `-m`: composed, checked, and run in a new folder."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import run_job
from hydra.types import RunMode
from omegaconf import DictConfig

from lab_engine.artifacts.run_folder import RunFolder
from lab_engine.config.command import Command, to_plain, words_of
from lab_engine.config.command_line import given_twice
from lab_engine.config.composition import composed
from lab_engine.config.explain import user_errors
from lab_engine.runs.running import run_in_folder


def run_once(command: Command, words: Sequence[str]) -> None:
    """Compose a configuration, check it, make the run folder, and run the command there.

    Raises:
        UserError: the words are refused, or the run cannot be done.
    """

    def work(_: DictConfig) -> Any:
        """Run the checked configuration in place of Hydra's."""
        with user_errors():  # else Hydra would report the error as well
            return run_in_folder(command, checked) if command.leaves_files else command.run(checked)

    with composed(command, words, RunMode.RUN) as composition:
        config, callbacks = composition.config, composition.context.callbacks
        checked = command.checked(to_plain(config, config.hydra, config.hydra.run.dir))
        for line in given_twice(words_of(config.hydra)):
            print(line, file=sys.stderr)  # noqa: T201
        with RunFolder(Path(config.hydra.run.dir), "hydra.run.dir"):
            callbacks.on_run_start(config=config, config_name=composition.name)
            done = run_job(
                task_function=work,
                config=config,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
                hydra_context=composition.context,
            )
            callbacks.on_run_end(config=config, config_name=composition.name, job_return=done)
            done.return_value  # noqa: B018 - raises the error of the run, if it failed
