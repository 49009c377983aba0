"""`-m`: start a sweep, which runs a command many times."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.types import RunMode

from lab_engine.artifacts.run_folder import RunFolder
from lab_engine.base.errors import UserError
from lab_engine.config.command import Command, words_of
from lab_engine.config.composition import composed
from lab_engine.sweeps.controller import finish
from lab_engine.sweeps.jobs import Jobs
from lab_engine.sweeps.settings import check_sweep


def sweep(command: Command, words: Sequence[str]) -> None:
    """Check launcher and sweeper, have Hydra's sweeper run the jobs, and report.

    Raises:
        UserError: the words are refused; jobs are checked before the first of them starts.
        SystemExit: with status 1: a job did not end well.
    """
    with composed(command, words, RunMode.MULTIRUN) as composition:
        config = composition.config
        jobs = Jobs(command, words_of(config.hydra))
        check_sweep(config)
        folder = Path(config.hydra.sweep.dir)
        if (folder / "config.yaml").exists():
            raise UserError(
                f"{folder} holds a single run, and nothing is added to it.\n"
                "Choose another folder with hydra.sweep.dir=DIR, or leave it out to get a new one."
            )
        with RunFolder(folder, "hydra.sweep.dir"):
            context = composition.context
            context.callbacks.on_multirun_start(config=config, config_name=composition.name)
            sweeper = Plugins.instance().instantiate_sweeper(config=config, hydra_context=context, task_function=jobs)
            sweeper.sweep(arguments=jobs.words)
            context.callbacks.on_multirun_end(config=config, config_name=composition.name)
            finish(config, jobs.started)
