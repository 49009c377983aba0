"""A front door: a Hydra application that refuses wrong input in a line or two, then runs a frozen configuration.

What runs is never Hydra's configuration itself but a plain dictionary: resolved, checked, and written to the run
folder as `config.yaml`. A process started for another device reads that file, so it cannot compose anything else,
whatever the command line was.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lenet_lab.command_line import MULTIRUN, OF_RECORDED, given_twice, in_order, patch_hydra_parser
from lenet_lab.config import EXIT_USER_ERROR, SHOW_TRACEBACK, Command, Config, config_folder, to_plain, words_of
from lenet_lab.errors import UserError
from lenet_lab.interruption import Interrupted, ended_by_signals
from lenet_lab.run_folder import RunFolder
from lenet_lab.running import run_in_folder


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
                from lenet_lab.recorded import parse
                from lenet_lab.reproduce import reproduce
                from lenet_lab.resume import resume
                from lenet_lab.sweeps.work import work_held

                request = parse(words)
                if request.resume:
                    resume(request, Command.current, run, work_held)
                else:
                    reproduce(request, Command.current, run)
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
            from lenet_lab.sweeps.settings import check_sweep

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
