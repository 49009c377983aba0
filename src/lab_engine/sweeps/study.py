"""An Optuna study that several sweep processes share, on one machine or many."""

import math
import sys
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from numpy.random import SeedSequence
from optuna.distributions import check_distribution_compatibility
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from lab_engine.base.errors import UserError
from lab_engine.base.extras import install_command, need
from lab_engine.config.instantiate import build
from lab_engine.sweeps.space import Space

Config = dict[str, Any]

NEEDS = {
    "optuna.samplers.CmaEsSampler": "cmaes",
    "optuna.samplers.GPSampler": "scipy",
    "optuna.samplers.QMCSampler": "scipy",
}
"""Packages that Optuna imports only after a sampler's first trials; checked at the start instead."""
GRID = "optuna.samplers.GridSampler"
ONE_SEQUENCE = (GRID, "optuna.samplers.QMCSampler")
"""Samplers whose seed sets one order for all trials of a study, so each trial needs the same seed."""
STOPPING = (GRID, "optuna.samplers.BruteForceSampler")
"""Samplers that call `Study.stop` after the last trial, which is an error outside `Study.optimize`."""
SECONDS_FOR_A_LOCKED_DATABASE = 60.0
METRIC = "metric"  # an attribute of the study


class SharedStudy:
    """A study with a lock.

    Args:
        settings: `sweeper` of the configuration, checked.
        folder: of the sweep; it holds the study's database if the settings name no storage.
        space: the search space.

    Raises:
        UserError: the storage cannot be used, a package is missing, or the study has another metric or search space.
    """

    def __init__(self, settings: Config, folder: Path, space: Space) -> None:
        _quieten()
        own = sqlalchemy.URL.create("sqlite", database=str(folder / "study.db")).render_as_string()
        self.url: str = settings["storage"] or own
        self.name: str = settings["study"] or ("sweep" if self.url == own else folder.name)
        self.space = space
        self.sampler: Config = settings["sampler"]
        self.folder = folder
        self.trials: int = min(settings["trials"], self._grid_size())
        self._database = _database(self.url)
        if self._database and not self._database.parent.is_dir():
            raise UserError(f"sweeper.storage={self.url} cannot be used: there is no folder {self._database.parent}")
        sampler, pruner = self._sampler(0), settings["pruner"] and build(settings["pruner"], "sweeper.pruner")
        with _storage_errors(self.url):
            connect = {"timeout": SECONDS_FOR_A_LOCKED_DATABASE} if self._database else {}
            with self.locked():
                storage = RDBStorage(
                    self.url, engine_kwargs={"connect_args": connect, "poolclass": sqlalchemy.NullPool}
                )
                self.study = optuna.create_study(
                    study_name=self.name,
                    storage=storage,
                    direction=settings["direction"],
                    sampler=sampler,
                    pruner=pruner or optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
                self._check(settings)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the study, so that no other sweep process adds or ends trials meanwhile."""
        if self.url.startswith("postgresql"):
            engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
            with engine.begin() as connection:  # the server releases the lock when this process dies
                lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtext(:name))")
                connection.execute(lock, {"name": f"lab_engine {self.name}"})
                yield
        else:
            database = self._database or self.folder / "study"
            with FileLock(database.with_name(f".{database.name}.lock")):
                yield

    def running(self, sweep: str) -> list[FrozenTrial]:
        """Return the unfinished trials of `sweep`."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in trials if trial.user_attrs.get("sweep") == sweep]

    def is_full(self) -> bool:
        """Return whether all trials have started."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(trial.state != TrialState.WAITING for trial in trials) >= self.trials

    def begin(self, sweep: str) -> Trial:
        """Start a trial that belongs to `sweep`.

        Optuna's `ask` creates a trial without attributes: if this process died before it set them, no sweep would ever
        continue the trial.
        """
        claim = uuid.uuid4().hex
        attributes = {"sweep": sweep, "claim": claim, "folder": str(self.folder)}
        self.study.add_trial(optuna.create_trial(state=TrialState.RUNNING, user_attrs=attributes))
        return self.draw(next(trial for trial in self.running(sweep) if trial.user_attrs["claim"] == claim))

    def draw(self, frozen: FrozenTrial) -> Trial:
        """Draw the values that a trial does not have yet.

        Each trial has its own random seed, so that no two processes, and no resumed one, draw the same values again.
        """
        self.study.sampler = self._sampler(frozen.number)
        trial = Trial(self.study, frozen._trial_id)
        for parameter in self.space.parameters:
            parameter.draw(trial)
        return trial

    def tell(self, trial: Trial, state: TrialState, value: float | None, reason: str) -> None:
        """End a trial; one that another process has ended is not changed."""
        if self.sampler["_target_"] in STOPPING:
            self.study.sampler = optuna.samplers.RandomSampler()
        if reason and not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
            trial.set_user_attr("reason", reason)
        self.study.tell(trial.number, value, state, skip_if_finished=True)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        name, seed = self.sampler["_target_"], self.sampler.get("seed")
        more: Config = {}
        if name in NEEDS:
            need(NEEDS[name], "samplers", f"sweeper.sampler ({name})")
        if seed is not None and name not in ONE_SEQUENCE:
            more["seed"] = int(SeedSequence((seed, number)).generate_state(1)[0])
        if name == GRID:
            more["search_space"] = {parameter.name: parameter.choices for parameter in self.space.parameters}
        made = build(self.sampler, "sweeper.sampler", **more)
        if not isinstance(made, optuna.samplers.BaseSampler):
            raise UserError(f"sweeper.sampler ({name}) makes a {type(made).__name__}: give a sampler of Optuna.")
        return made

    def _grid_size(self) -> int:
        if self.sampler["_target_"] != GRID:
            return sys.maxsize
        for parameter in self.space.parameters:
            if not parameter.choices:
                raise UserError(
                    f"{parameter.name} has infinitely many values, and the grid sampler tries all: give "
                    "range(START,STOP,STEP) or A,B,C."
                )
        return math.prod(len(parameter.choices) for parameter in self.space.parameters)

    def _check(self, settings: Config) -> None:
        """Refuse a study with another metric, direction or search space."""
        study = f"The study {self.name} in {_hide_password(self.url)}"
        cure = "Choose another sweeper.study, or another folder with hydra.sweep.dir."
        metric = self.study.user_attrs.get(METRIC, settings["metric"])
        wanted = (settings["metric"], settings["direction"])
        if (metric, self.study.direction.name.lower()) != wanted:
            raise UserError(
                f"{study} is to {self.study.direction.name.lower()} {metric}, not {' '.join(reversed(wanted))}.\n{cure}"
            )
        self.study.set_user_attr(METRIC, metric)
        for trial in self.study.get_trials(deepcopy=False):
            for parameter in self.space.parameters:
                known = trial.distributions.get(parameter.name, parameter.distribution)
                try:
                    check_distribution_compatibility(known, parameter.distribution)
                except ValueError as error:
                    raise UserError(f"{study} has other values of {parameter.name}: {known}.\n{cure}") from error


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        missing = getattr(error.__cause__ or error, "name", None)
        install = install_command("postgresql") if missing == "psycopg" else f"pip install {missing}"
        raise UserError(f"sweeper.storage={_hide_password(url)} needs the package {missing}: {install}") from error
    except (
        sqlalchemy.exc.ArgumentError,
        sqlalchemy.exc.OperationalError,
        optuna.exceptions.StorageInternalError,
    ) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise UserError(f"sweeper.storage={_hide_password(url)} cannot be used: {reason}") from error


def _database(url: str) -> Path | None:
    """Return the file of an SQLite database; None for other databases, and for one in memory."""
    parts = sqlalchemy.make_url(url)
    return Path(parts.database) if parts.get_backend_name() == "sqlite" and parts.database else None


def _hide_password(url: str) -> str:
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def _quieten() -> None:
    """Keep only warnings of Optuna's messages; `terminal.open_log` directs them to the terminal and the log."""
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
