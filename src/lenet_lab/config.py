"""A configuration: where its files are, from what Hydra composed to plain data, and back from `config.yaml`."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import env_override
from omegaconf import DictConfig, OmegaConf

from lenet_lab.command_line import CHOOSES, OF_THE_SWEEP
from lenet_lab.config_dir import given_folder, import_from
from lenet_lab.taken import untaken

if TYPE_CHECKING:
    from lenet_lab.run_folder import RunFolder

Config = dict[str, Any]

SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"  # with a user's error too; Hydra's own switch for it
EXIT_USER_ERROR = 2  # a fault of the program's own ends with 1, as everywhere in Python


@dataclass(frozen=True)
class Command:
    """A front door.

    Attributes:
        name: of the command, of its module and of its file in `conf`.
        complete: from what Hydra composed to a checked configuration; quick, for it runs before the folder is made.
    """

    name: str
    complete: Callable[[Config], Config]

    current: ClassVar["Command"]
    folder: "ClassVar[RunFolder | None]" = None
    """Of this process's run or sweep, once its configuration is accepted."""

    @property
    def module(self) -> str:
        """Where it can be imported from, in another process."""
        return f"lenet_lab.{self.name}"


def config_folder() -> Path:
    """Where the YAML files are: inside an installed package, or beside `src` in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def words_of(hydra_config: Any) -> list[str]:
    """Return the KEY=VALUE words of the command line; interpolations in them are of the configuration, not of Hydra."""
    return list(OmegaConf.to_container(hydra_config.overrides.task, resolve=False))  # type: ignore[arg-type]


def to_plain(composed: DictConfig, hydra_config: Any, folder: str) -> Config:
    """Resolve what Hydra has composed, with the keys that the program sets and without groups that nobody takes.

    Raises:
        UserError: a word of the command line sets a key of such a group.
    """
    words, choices = words_of(hydra_config), hydra_config.runtime.choices
    left_out = {"hydra", *OF_THE_SWEEP, *untaken(composed, words, choices)}
    task = OmegaConf.masked_copy(composed, [str(key) for key in composed if key not in left_out])
    task.folder = os.path.abspath(folder)  # noqa: PTH100 - without `..`, which no file in it may name
    task.choices = {group: choices[group] for group in task if isinstance(choices.get(group), str)}
    task.words = [word for word in words if re.fullmatch(CHOOSES, word) and word.partition("=")[0] not in left_out]
    task.config_dir = given_folder(hydra_config)
    plain: Config = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    import_from(plain)
    return plain


def read_config(folder: Path) -> Config:
    """Give the configuration that the run in `folder` was started with."""
    config: Config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))  # type: ignore[assignment]
    return config


@contextmanager
def inherited_settings() -> Iterator[None]:
    """Let processes that are started here show tracebacks as the user has asked, not as Hydra must be told here."""
    with env_override({"HYDRA_FULL_ERROR": "1" if SHOW_TRACEBACK else "0"}):
        yield
