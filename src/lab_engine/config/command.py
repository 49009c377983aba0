"""A command and its configuration: from what Hydra composed to plain data, and back from `config.yaml`."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lab_engine.base.imports import import_quickly
from lab_engine.config.command_line import CHOICE_PATTERN, OF_THE_SWEEP
from lab_engine.config.config_dir import given_folder, import_from
from lab_engine.config.taken import untaken

Config = dict[str, Any]

SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"  # for errors of the user, too; Hydra's own switch
EXIT_USER_ERROR = 2  # a fault of the program's own ends with 1, as everywhere in Python


@dataclass(frozen=True)
class Command:
    """A command, such as `train`.

    Attributes:
        module: that has this object as `COMMAND`, and is run with `python -m`.
        check: "module:function", from what Hydra composed to a checked configuration, before the folder is made.
        work: "module:function", does the work on one device with a checked configuration; returns the metrics, or
            other results.
        leaves_files: the command writes to a run folder; without one it only shows something, on this device.
        sweeps: the command has groups `launcher` and `sweeper`, so that -m can run it many times.
        resumes: the command can resume or repeat a run with the configuration in its folder.
        paths: keys whose values are paths, which need no quotes for Hydra.
        short: short forms of keys, which only the command line knows: {"lr": "optimizer.lr"}.
        folders: groups for which a folder may be given, with the option that reads it from its key `root`.
        prepare: "module:function", from the words of the command line to those that Hydra reads; empty: they are those.
    """

    module: str
    check: str
    work: str
    leaves_files: bool = True
    sweeps: bool = True
    resumes: bool = False
    paths: Sequence[str] = ()
    short: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""

    @property
    def name(self) -> str:
        """Name of the command and of its file in `conf`."""
        return self.module.rpartition(".")[2]

    @property
    def package(self) -> str:
        """Package of the project that the command belongs to."""
        return self.module.partition(".")[0]

    @property
    def conf(self) -> Path:
        """Folder of the project's options."""
        return config_folder(self.package)

    def prepared(self, words: list[str]) -> list[str]:
        """Call `prepare` on the words of the command line."""
        prepared: list[str] = import_quickly(self.prepare)(words) if self.prepare else words
        return prepared

    def checked(self, config: Config) -> Config:
        """Call `check` on a configuration, and return the result.

        Raises:
            UserError: a value that is not allowed.
        """
        checked: Config = import_quickly(self.check)(config)
        return checked

    def run(self, config: Config) -> dict[str, Any]:
        """Run the work on this device; with several devices, each process calls this method."""
        import_from(config)
        results: dict[str, Any] = import_quickly(self.work)(config)
        return results


def load_command(module: str) -> Command:
    """Import a command; see `Command.module`."""
    command: Command = import_quickly(f"{module}:COMMAND")
    return command


def config_folder(package: str) -> Path:
    """Return the folder of a project's YAML files: in its package if it is installed, beside `src` in a checkout."""
    folder = Path(import_quickly(package).__file__).parent
    installed = folder / "conf"
    return installed if installed.is_dir() else folder.parents[1] / "conf"


def words_of(hydra_config: Any) -> list[str]:
    """Return the KEY=VALUE words of the command line, with their interpolations, which refer to the configuration."""
    return list(OmegaConf.to_container(hydra_config.overrides.task, resolve=False))  # type: ignore[arg-type]


def to_plain(composed: DictConfig, hydra_config: Any, folder: str) -> Config:
    """Resolve what Hydra has composed; add the keys that the program sets, and drop groups that nothing takes.

    Raises:
        UserError: a word of the command line sets a key of a group that nothing takes.
    """
    words, choices = words_of(hydra_config), hydra_config.runtime.choices
    left_out = {"hydra", *OF_THE_SWEEP, *untaken(composed, words, choices)}
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in left_out])
    task.folder = os.path.abspath(folder)  # noqa: PTH100 - Path.absolute would keep `..`
    task.choices = {group: choices[group] for group in task if isinstance(choices.get(group), str)}
    task.words = [
        word for word in words if re.fullmatch(CHOICE_PATTERN, word) and word.partition("=")[0] not in left_out
    ]
    task.config_dir = given_folder(hydra_config)
    plain: Config = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    import_from(plain)
    return plain


def read_config(folder: Path) -> Config:
    """Return the configuration that the run in `folder` was started with."""
    config: Config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))  # type: ignore[assignment]
    return config
