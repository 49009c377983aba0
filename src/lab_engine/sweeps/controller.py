"""The process that runs a sweep: it starts jobs, prints how each ends, and reports."""

import itertools
import math
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.text import Text

from lab_engine.base.devices import device_count
from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.base.signals import Interrupted
from lab_engine.base.wording import counted
from lab_engine.config.command import words_of
from lab_engine.config.command_line import given_twice
from lab_engine.config.instantiate import build
from lab_engine.config.schema import Mode
from lab_engine.sweeps.executor import Executor, Plan, run
from lab_engine.sweeps.grid import Grid, has_ended
from lab_engine.sweeps.importance import MIN_JOBS
from lab_engine.sweeps.job import ENDED, Job, State, read_metric, read_record, state_now, state_of
from lab_engine.sweeps.job_factory import JobFactory
from lab_engine.sweeps.jobs import Jobs
from lab_engine.sweeps.report import report
from lab_engine.sweeps.settings import check_sweep
from lab_engine.sweeps.table import overrides_text
from lab_engine.training import terminal

if TYPE_CHECKING:
    from lab_engine.sweeps.search import SearchPlan

STYLE: dict[State, str] = {"done": "green", "pruned": "dim", "waiting": "dim", "running": "cyan"}
"""Of a state on the terminal; all other states are red."""


class Controller:
    """Runs plans in one sweep folder.

    Args:
        context: Hydra's.
        config: what Hydra has composed for the sweep.
        jobs: Hydra's task function; the run folders of started jobs are added to it.
    """

    def __init__(self, context: HydraContext, config: DictConfig, jobs: Jobs) -> None:
        self.config = config
        self.factory = JobFactory(context, config, jobs.command)
        self.started = jobs.started
        self.factory.folder.mkdir(parents=True, exist_ok=True)
        self.metric: str | None = check_sweep(config)["sweeper"]["metric"]
        self.launcher: dict[str, Any] = OmegaConf.to_container(config.launcher, resolve=True)  # type: ignore[assignment]
        self._varying_keys: set[str] = set()
        self._ended = 0
        self._jobs = 0

    def run_grid(self, overrides: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Run a job for each list of overrides, numbered from `first`; return the jobs when all have ended."""
        if not overrides:
            raise UserError("The sweep has no jobs: one of the keys has no values. Give each at least one.")
        values: dict[str, set[str]] = {}
        for word in itertools.chain(*overrides):
            values.setdefault(word.partition("=")[0], set()).add(word)
        self._varying_keys = {key for key, words in values.items() if len(words) > 1}
        executor = self._executor()
        try:
            with self.factory.locked():
                jobs = [self.factory.job(words, first + number) for number, words in enumerate(overrides)]
                for job in jobs:
                    executor.check(job)
                for job in jobs:
                    self.factory.freeze(job)
            self.started.update(job.folder for job in jobs)
            unique = list({job.folder: job for job in jobs}.values())  # a value may have been given twice
            ended = sum(has_ended(job) for job in unique)
            self._open(counted(len(unique), "job") + (f", {ended} of them done already" if ended else ""))
            plan = Grid(unique)
        except BaseException:
            executor.close()
            raise
        _import_for_report(len(jobs))
        executor.expect(len(plan), max((job.config["trainer"] for job in jobs), key=_devices))
        self._run(plan, executor, len(unique) - ended)
        return jobs

    def run_search(self, words: Sequence[str], search: "type[SearchPlan]") -> None:
        """Run the trials of a study in the search space that `words`, sweep overrides, describe.

        `search` is an argument because its module imports Optuna, which a grid does not need.
        """
        executor = self._executor()

        def make_job(overrides: Sequence[str], name: str, number: int) -> Job:
            """Compose, check and freeze the job that runs in the folder `name`."""
            job = self.factory.job(overrides, number, name)
            executor.check(job)
            self.factory.freeze(job)
            self.started.add(job.folder)
            return job

        settings = check_sweep(self.config)["sweeper"]
        loader = self.factory.context.config_loader
        plan = search(settings, words, self.factory.folder, make_job, config_loader=loader)
        self._varying_keys = {parameter.key for parameter in plan.space.parameters} | {*settings["repeats"]}
        self._open(f"a search of {counted(plan.jobs, 'job')}, study {plan.study.name}")
        executor.expect(plan.jobs)
        self._run(plan, executor, plan.jobs)

    def _open(self, what: str) -> None:
        folder, package = self.factory.folder, self.factory.command.package
        terminal.open_log(folder / "sweep.log", package)
        terminal.show(Text(f"{package} sweep: {what}", style="bold"))
        terminal.show(Text.assemble(("  sweep folder", "cyan"), f"  {short(folder)}"))
        for line in given_twice(words_of(self.config.hydra)):
            terminal.show(Text(f"  {line}"))

    def _run(self, plan: Plan, executor: Executor, jobs: int) -> None:
        self._jobs = jobs
        try:
            run(plan, executor, on_end=self._show_end)
        except KeyboardInterrupt:
            executor.close()
            with suppress(SystemExit):
                finish(self.config, self.started)
            raise Interrupted(signal.SIGINT) from None
        finally:
            executor.close()

    def _show_end(self, job: Job) -> None:
        record = read_record(job.folder)
        if record is None:
            return
        self._ended += 1
        state = state_of(job.folder, record)
        parts = [(f"{self._ended:>{len(str(self._jobs))}}/{self._jobs}  ", "dim")]
        parts += [(f"{job.folder.relative_to(self.factory.folder)}  ", ""), (state, STYLE.get(state, "bold red"))]
        metric = f"  {self.metric} {result(job, self.metric):.4f}" if state == "done" and self.metric else ""
        own = overrides_text(word for word in job.overrides if word.partition("=")[0] in self._varying_keys)
        parts += [(f"  {record.seconds(state) or 0:.1f} s{metric}", ""), (f"  {own}", "dim")]
        terminal.show(Text.assemble(*parts))
        if record.reason:
            terminal.show(Text(f"      {record.reason}"))

    def _executor(self) -> Executor:
        executor: Executor = build(self.launcher, "launcher")
        command = self.factory.command
        parts = OmegaConf.to_container(self.config, resolve=False)
        executor.prepare([command.work.partition(":")[0], *modules_of(parts, command.package)])
        return executor


def modules_of(node: Any, package: str) -> list[str]:
    """Return the modules of a package that a configuration names, each once.

    Modules of other packages are left out: importing them might start threads, and jobs are forked afterwards.
    """
    found: list[str] = []
    if isinstance(node, dict):
        target = node.get("_target_")
        if isinstance(target, str) and target.startswith(f"{package}."):
            found.append(target.rpartition(".")[0])
    if isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            found += modules_of(part, package)
    return list(dict.fromkeys(found))


def _import_for_report(jobs: int) -> None:
    """Import Optuna at the start, while the fork server imports too, and not when the user waits for the report."""
    if jobs >= MIN_JOBS:
        import optuna.importance  # noqa: F401


def _devices(trainer: dict[str, Any]) -> tuple[bool, int]:
    """Key to find the job that asks for the most devices; one with GPUs counts as more than any without."""
    return trainer["accelerator"] != "cpu", device_count(trainer, gpus=sys.maxsize)


def finish(config: DictConfig, started: Iterable[Path]) -> None:
    """Report on the sweep, given the run folders of its started jobs.

    Raises:
        SystemExit: with status 1 unless each of them is done or pruned.
    """
    folder = Path(config.hydra.sweep.dir).absolute()
    sweeper = check_sweep(config)["sweeper"]
    mode: Mode = "max" if sweeper["direction"] == "maximize" else "min"
    tables = report(folder, sweeper["metric"] or "", mode, sweeper["repeats"])
    terminal.show(Text())
    terminal.show(tables)
    terminal.show(Text(f"report     {short(folder / 'report.html')}"))
    if any(folder.glob("*/tensorboard")):
        terminal.show_dashboard(folder)
    # a job that still runs has been taken over by another sweep
    unfinished = any(state_now(folder) not in (*ENDED, "running") for folder in started)
    if unfinished:
        terminal.show(Text(f"continue   the same command with hydra.sweep.dir={short(folder)}"))
    terminal.close_log()
    if unfinished:
        raise SystemExit(1)


def result(job: Job, metric: str | None) -> float:
    """Return the metric of a job; NaN if the job is not done or has no such metric."""
    try:
        value = read_metric(job.folder, metric or "")
    except FileNotFoundError:
        return math.nan
    return math.nan if value is None else value
