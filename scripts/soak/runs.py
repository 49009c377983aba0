"""Real runs: started, killed, resumed, and compared with a twin that was not interrupted."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.resumed import assert_same_run

COMMON = ["report=false", "callbacks.dashboard=null"]
MAX_SECONDS = 600.0  # of a run


def start(where: Path, *words: str, module: str = "train", **variables: str) -> subprocess.Popen[str]:
    """Start a command in a folder; its output is appended to the files `out` and `err` there."""
    environment = {**os.environ, "LENET_LAB_CACHE": str(where / "cache"), **variables}
    with (where / "out").open("a") as out, (where / "err").open("a") as err:
        return subprocess.Popen(
            [sys.executable, "-m", f"lenet_lab.{module}", *words],
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            text=True,
            start_new_session=True,
        )


def finish(process: subprocess.Popen[str], seconds: float = MAX_SECONDS) -> int:
    """Wait for the process and return its exit status; after `seconds`, kill it and its descendants."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return process.wait()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the process and its descendants with SIGKILL."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def differences(folder: Path, twin: Path) -> list[str]:
    """Return the differences between a finished run and its twin, except for times."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of each point that a resumed run writes again
    try:
        assert_same_run(folder, twin)
    except AssertionError as error:
        return [textwrap.shorten(str(error), 300, placeholder=" …")]
    return []
