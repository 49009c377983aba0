"""A front door: a Hydra application that refuses wrong input in a line or two, then runs a frozen configuration.

What runs is never Hydra's configuration itself but a plain dictionary: resolved, checked, and written to the run
folder as `config.yaml`. A process started for another device reads that file, so it cannot compose anything else,
whatever the command line was.
"""

import logging
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from lenet_lab.command_line import CHOOSES, MULTIRUN, OF_THE_SWEEP, given_twice, in_order, patch_hydra_parser
from lenet_lab.config_dir import given_folder, import_from
from lenet_lab.directions import fill_sweeper
from lenet_lab.errors import IncompleteError, UserError
from lenet_lab.interruption import Interrupted, ended_by_signals
from lenet_lab.run_folder import LOCK, RunFolder, hold, names
from lenet_lab.taken import untaken

Config = dict[str, Any]

SHOW_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"  # with a user's error too; Hydra's own switch for it
ONE_DEVICE = {"devices": 1, "num_nodes": 1}
"""In place of `trainer`, for commands that have none."""
OF_RECORDED = ("resume=", "from=", "trust=")
"""How the words begin that concern a run whose configuration lies in its folder (see `lenet_lab.recorded`)."""
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
    folder: ClassVar[RunFolder | None] = None
    """Of this process's run or sweep, once its configuration is accepted."""

    @property
    def module(self) -> str:
        """Where it can be imported from, in another process."""
        return f"lenet_lab.{self.name}"


def run_command(
    name: str,
    complete: Callable[[Config], Config],
    run: Callable[[Config], dict[str, Any]],
    leaves_files: bool = True,
    sweeps: bool = True,
    resumes: bool = False,
    paths: Sequence[str] = (),
) -> None:
    """Be the command `python -m lenet_lab.<name>`.

    Args:
        name: see `Command`.
        complete: likewise.
        run: does the work on one device, from a checked configuration; gives the metrics, or what it has found.
        leaves_files: in a run folder, that is; without one the command only shows something, on this device.
        sweeps: the command has groups `launcher` and `sweeper`, so that -m can run it many times.
        resumes: the command can go on with a run, and repeat one, from the configuration in its folder.
        paths: keys whose values may be written without Hydra's quotes, whatever is in the name of a file.
    """

    def task(composed: DictConfig) -> Any:
        with user_errors():
            config = complete(to_plain(composed, HydraConfig.get(), HydraConfig.get().runtime.output_dir))
            for line in given_twice(words_of(HydraConfig.get())):
                print(line, file=sys.stderr)  # noqa: T201
            metrics = run_in_folder(name, config, run, resumes) if leaves_files else run(config)
        return metrics.get(config.get("task", {}).get("monitor"))  # for Hydra's sweepers

    Command.current = Command(name, complete)
    for library in ("matplotlib.font_manager", "torch"):  # they tell of their caches, at the first start and at the end
        logging.getLogger(library).setLevel(logging.WARNING)
    words = sys.argv[1:]
    # Where Hydra would print its own report, a page long, this makes it raise instead.
    once = not {*MULTIRUN} & set(words)
    with user_errors(), env_override({"HYDRA_FULL_ERROR": "1"}), ended_by_signals() if once else nullcontext():
        if "--help" in words or "-h" in words:
            from lenet_lab.usage import usage

            overrides = [word for word in words if "=" in word and not word.startswith("-")]
            overrides = [word for word in overrides if not (resumes and _recorded(word))]
            print(usage(name, config_folder(), overrides, leaves_files))  # noqa: T201
            return
        patch_hydra_parser()
        words = in_order(words)
        if not leaves_files and not once:
            raise UserError(f"-m is refused: {name} shows one thing at a time and leaves no files. Call it for each.")
        if not sweeps and not once:
            raise UserError(f"-m is refused: {name} does one thing at a time. Call it for each.")
        from lenet_lab.processes import let_threads_sleep, stand_alone

        stand_alone()
        let_threads_sleep()
        if resumes and (odd := [word for word in words if word.lstrip("+~") != word and _recorded(word)]):
            raise UserError(f"{odd[0]} is refused: write it as {odd[0].lstrip('+~')}")
        try:
            if resumes and any(map(_recorded, words)):
                from lenet_lab.recorded import run_recorded

                run_recorded(words, Command.current, run)
                return
            sys.argv[1:] = words
            if paths:
                from lenet_lab.quoting import quote_paths

                sys.argv[1:] = quote_paths(words, paths)
            hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)(task)()
        except (Exception, SystemExit):
            if Command.folder is not None:
                Command.folder.take_back()
            raise


def _recorded(word: str) -> bool:
    return word.lstrip("+~").startswith(OF_RECORDED)


def run_in_folder(
    name: str, config: Config, run: Callable[[Config], dict[str, Any]], resumes: bool = False
) -> dict[str, Any]:
    """Do a new run in its folder, which is there and free, and hold its lock meanwhile if it could be resumed."""
    from lenet_lab.explain import naming  # only now: `--cfg job` need not wait for it

    folder = Path(config["folder"])
    _refuse_taken(folder, name if resumes else None)
    before = names(folder) - {LOCK}
    with hold(folder) if resumes else nullcontext(), naming(folder):
        _claim(config, name if resumes else None)
        try:
            return compute(name, config, run)
        except IncompleteError:
            raise
        except (UserError, Interrupted):
            _give_back(folder, names(folder) - before, name)
            raise


def compute(name: str, config: Config, run: Callable[[Config], dict[str, Any]]) -> dict[str, Any]:
    """Call `run` on as many devices as `config`, which lies in the run folder, asks for."""
    from lenet_lab.explain import naming
    from lenet_lab.processes import device_count, refuse_several_nodes, refuse_too_many, run_on_devices

    trainer = config.get("trainer", ONE_DEVICE)
    refuse_several_nodes(trainer)
    count = device_count(trainer)
    refuse_too_many(trainer, count)
    with inherited_settings(), naming(Path(config["folder"])):
        return run(config) if count == 1 else run_on_devices(f"lenet_lab.{name}", config, count)


def config_folder() -> Path:
    """Where the YAML files are: inside an installed package, or beside `src` in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


class CheckBeforeStart(Callback):
    """Named in `conf/hydra`: refuses a wrong configuration before Hydra has made the run folder."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check; Hydra turns ordinary exceptions of callbacks into warnings, but lets SystemExit pass."""
        with user_errors():
            Command.current.complete(to_plain(config, config.hydra, config.hydra.run.dir))
            Command.folder = RunFolder(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check what concerns the sweep as a whole; its jobs are checked before the first of them starts."""
        with user_errors():
            check_sweep(config)
            folder = Path(config.hydra.sweep.dir)
            if (folder / "config.yaml").exists():
                raise UserError(
                    f"{folder} holds a single run, and nothing is added to it.\n"
                    "Choose another folder with hydra.sweep.dir=DIR, or leave it out to get a new one."
                )
            Command.folder = RunFolder(folder, "hydra.sweep.dir")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report; what goes wrong there must show, and Hydra would make a warning of it."""
        with user_errors():
            from lenet_lab.sweeps.controller import finish

            try:
                finish(config)
            except UserError:
                raise
            except Exception:
                traceback.print_exc()
                raise SystemExit(1) from None


def check_sweep(config: DictConfig) -> Config:
    """Give what concerns the sweep as a whole, resolved and checked."""
    from lenet_lab.schema import SearchConfig, SweepConfig, check

    plain: Config = {key: OmegaConf.to_container(config[key], resolve=True) for key in OF_THE_SWEEP}
    task = OmegaConf.to_container(config.task) if "task" in config else {}
    plain["sweeper"] = fill_sweeper(plain["sweeper"], task)  # type: ignore[arg-type]
    return check(plain, SearchConfig if "sampler" in plain["sweeper"] else SweepConfig)


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


@contextmanager
def inherited_settings() -> Iterator[None]:
    """Let processes that are started here show tracebacks as the user has asked, not as Hydra must be told here."""
    with env_override({"HYDRA_FULL_ERROR": "1" if SHOW_TRACEBACK else "0"}):
        yield


def _claim(config: Config, resumes: str | None) -> None:
    """Write `config.yaml`, which no other run ever overwrites; there is none of it, or all."""
    from lenet_lab.whole_file import write_whole  # only now: `--cfg job` need not wait for it

    file = Path(config["folder"]) / "config.yaml"
    try:
        write_whole(file, OmegaConf.to_yaml(config), new=True)
    except FileExistsError:  # another process was quicker
        _refuse_taken(file.parent, resumes)
        raise


def _refuse_taken(folder: Path, resumes: str | None) -> None:
    """Refuse a folder that holds a run; `resumes` is the command that could resume it, if this is one."""
    if not (folder / "config.yaml").exists():
        return
    advice = "Choose another folder with hydra.run.dir=DIR, or leave it out to get a new one."
    if resumes and (folder / f"{resumes}.log").exists() and not (folder / "metrics.json").exists():
        resume = shlex.quote(f"resume={folder}")
        advice = f"It is not finished: resume it with {resume}, or choose another folder with hydra.run.dir=DIR."
    raise UserError(f"{folder} holds a run already, and nothing in it is overwritten.\n{advice}")


def _give_back(folder: Path, left: set[str], name: str) -> None:
    """Take back what a run has `left` in its folder if it never began: the same command may then be given again."""
    if left <= {"config.yaml", f"{name}.log", LOCK}:
        for file in left:
            (folder / file).unlink(missing_ok=True)
        with suppress(OSError):  # other files are not ours
            folder.rmdir()


def read_config(folder: Path) -> Config:
    """Give the configuration that the run in `folder` was started with."""
    config: Config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))  # type: ignore[assignment]
    return config


@contextmanager
def user_errors() -> Iterator[None]:
    """Print errors that the user can mend in a line or two, and end with status 2; let all others through."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        from lenet_lab.explain import explain  # only now: a correct start need not pay for it
        from lenet_lab.wording import printable

        text = explain(error)
        if text is None:
            raise
        if SHOW_TRACEBACK:
            traceback.print_exception(error)
        print("error:", printable(text, kept="\n"), file=sys.stderr)  # noqa: T201
        raise SystemExit(EXIT_USER_ERROR) from None
