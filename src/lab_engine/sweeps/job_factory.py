"""From overrides to jobs of a sweep: each gets a checked configuration and a run folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from lab_engine.artifacts.run_folder import in_folder, lock, replace
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.config.command import Command, to_plain
from lab_engine.config.command_line import OF_THE_SWEEP
from lab_engine.sweeps.job import ENDED, Job, Record, read_record, state_of, write_record

Config = dict[str, Any]

NO_DIFFERENCE = {"data": ("cache", "mirrors"), "": ("folder", "threads", "lean_loop", "words", "config_dir")}
"""Keys that do not change a job's results, by group; "" is for keys outside a group."""


class JobFactory:
    """Makes the jobs of one sweep folder.

    Args:
        context: Hydra's, to compose with.
        config: composed for the sweep itself, without the overrides of its jobs.
        command: that each job runs.
    """

    def __init__(self, context: HydraContext, config: DictConfig, command: Command) -> None:
        self.context = context
        self.config = config
        self.command = command
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self._taken: dict[Path, str] = {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the choice of run folders in this sweep folder, and read which ones other commands have chosen."""
        with FileLock(self.folder / ".jobs.lock"):
            for file in self.folder.rglob("job.json"):
                record = read_record(file.parent)
                self._taken[file.parent] = record.settings if record else ""
            yield

    def job(self, overrides: Sequence[str], number: int, name: str | None = None) -> Job:
        """Compose and check a job, and find its run folder: the one where it started before, or a new one.

        Args:
            overrides: as on the command line.
            number: in the sweep, from 0; a higher one is chosen if the folder of this one holds another job.
            name: of the run folder inside the sweep folder; None: from `hydra.sweep.subdir`.

        Raises:
            UserError: a value is refused, or the folder `name` holds another job.
        """
        own = tuple(word for word in overrides if not word.lstrip("+~").startswith(_SWEEP_KEYS))
        config, folder = self._compose(overrides, number, name)
        settings = _settings(config)
        if name is None:
            earlier = next((known for known, its in self._taken.items() if its == settings), None)
            if earlier is not None:
                record = read_record(earlier)
                number, folder = record.number if record else number, earlier
            while self._holds_other(folder, settings):
                number = max(number, len(self._taken) - 1) + 1
                config, another = self._compose(overrides, number, None)
                if another == folder:
                    raise UserError(
                        f"hydra.sweep.subdir={self.config.hydra.sweep.subdir} gives two jobs the folder {folder}.\n"
                        "Leave it out, or name in it all keys that you sweep over."
                    )
                folder = another
        elif self._holds_other(folder, settings):
            raise UserError(
                f"{folder} holds another job, and nothing in it is overwritten.\n"
                "Choose another folder with hydra.sweep.dir=DIR, or repeat the command that started the sweep."
            )
        self._taken[folder] = settings
        return Job(number, own, self.command.module, in_folder(config, folder))

    def freeze(self, job: Job) -> None:
        """Write `config.yaml` and `job.json` of a job, unless it is done or pruned, or another sweep runs it."""
        job.folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), lock(job.folder).acquire(blocking=False):
            record = read_record(job.folder) or Record(job.number, list(job.overrides), settings=_settings(job.config))
            if state_of(job.folder, record) not in ENDED:
                atomic_write(job.folder / "config.yaml", OmegaConf.to_yaml(job.config))
                record.state = "waiting"
                write_record(job.folder, record)

    def _compose(self, overrides: Sequence[str], number: int, name: str | None) -> tuple[Config, Path]:
        composed = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        self._refuse_own_launcher(composed, overrides)
        with open_dict(composed):
            composed.hydra.job.id, composed.hydra.job.num = str(number), number
        HydraConfig.instance().set_config(composed)  # resolves ${hydra:…}
        folder = self.folder / (name or str(composed.hydra.sweep.subdir))
        return self.command.checked(to_plain(composed, composed.hydra, str(folder))), folder

    def _refuse_own_launcher(self, composed: DictConfig, overrides: Sequence[str]) -> None:
        """Refuse a job with a launcher or sweeper of its own, for example from an experiment file."""
        for group in OF_THE_SWEEP:
            if OmegaConf.to_container(composed[group]) != OmegaConf.to_container(self.config[group]):
                raise UserError(
                    f"The job {' '.join(overrides)} is refused: it changes {group}, which is the same for all jobs.\n"
                    f"Give {group} on the command line, and not in the options that you sweep over."
                )

    def _holds_other(self, folder: Path, settings: str) -> bool:
        """Return whether a folder holds another job, or a run that is no job of a sweep."""
        record = read_record(folder)  # another process of this sweep may have written it
        known = self._taken.get(folder, record.settings if record else None)
        return (folder / "config.yaml").exists() if known is None else known != settings


_SWEEP_KEYS = tuple(f"{key}{mark}" for key in (*OF_THE_SWEEP, "hydra") for mark in (".", "=", "/"))


def _settings(config: Config) -> str:
    """Return a fingerprint of all settings that can change a job's results, whatever its folder."""
    kept = replace(config, config["folder"], "")
    for group, keys in NO_DIFFERENCE.items():
        part = kept.get(group, {}) if group else kept
        for key in keys:
            part.pop(key, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
