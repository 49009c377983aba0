"""Real runs: started, killed, continued, and compared with a twin that nothing happened to."""

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.resumed import assert_same_run

COMMON = ["report=false", "callbacks.dashboard=null"]
SECONDS_MOST = 600.0  # that a run of a part may take


def start(where: Path, *words: str, module: str = "train", **variables: str) -> subprocess.Popen[str]:
    """Start a command in a folder; what it says goes to files `out` and `err` there, behind what is there already."""
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


def finish(process: subprocess.Popen[str], seconds: float = SECONDS_MOST) -> int:
    """Wait for its end, and give its status; one that takes too long is killed, with all that it has started."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return process.wait()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it and all that it has started, at once and without a word."""
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
    """Say what differs between a finished run and its twin, but for times."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of each point that a resumed run writes anew
    try:
        assert_same_run(folder, twin)
    except AssertionError as error:
        return [textwrap.shorten(str(error), 300, placeholder=" …")]
    return []
