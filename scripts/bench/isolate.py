"""A section runs in a process of its own: its threads, its memory or a crash do not affect the others.

Where it trains in this process, with lenet_lab or in a plain loop, OpenMP's threads wait for each other as they do in
lenet_lab's commands (`lab_engine.base.devices.limit_busy_waiting`): otherwise a section would measure what no
command does.
"""

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from section import Aim, Chart, MeasurementError, Section, Setup

TAIL = 12  # last lines to show of a failed section
SECONDS_TO_END = 10.0  # for an interrupted section


def run(name: str, setup: Setup, log: Path, tick: Callable[[str], None]) -> Section:
    """Measure a section.

    Args:
        name: of its module.
        setup: passed to its `measure`.
        log: file for its output.
        tick: called about every second with its last line of output.

    Raises:
        MeasurementError: it failed; the text is the end of `log`.
    """
    order, result = setup.scratch.with_suffix(".setup.json"), setup.scratch.with_suffix(".result.json")
    order.write_text(json.dumps(dataclasses.asdict(setup), default=str))
    words = [sys.executable, __file__, name, str(order), str(result)]
    with log.open("w") as output:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )  # in a session of its own, so that Ctrl-C reaches this process alone, which passes it on
        try:
            while child.poll() is None:
                try:
                    child.wait(1.0)
                except subprocess.TimeoutExpired:
                    tick(last_line(log))
        except BaseException:
            end(child)
            raise
    if child.returncode or not result.exists():
        raise MeasurementError("\n".join(deque(log.read_text(errors="replace").splitlines(), TAIL)))
    return from_json(json.loads(result.read_text()))


def end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt a section and its processes, and kill those that do not end."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(SECONDS_TO_END)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue


def last_line(log: Path) -> str:
    """Return the last line of output; progress bars overwrite their line."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 500))
        lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def from_json(found: dict[str, Any]) -> Section:
    """Return the section from the output of `dataclasses.asdict`."""
    aims = [Aim(**aim) for aim in found.pop("aims")]
    chart = found.pop("chart")
    return Section(**found, aims=aims, chart=Chart(**chart) if chart else None)


def main() -> None:
    """Run the process of a section."""
    name, order, result = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has started all in background
    from lab_engine.base.devices import limit_busy_waiting

    limit_busy_waiting()
    given = json.loads(Path(order).read_text())
    setup = Setup(**given | {"data": Path(given["data"]), "scratch": Path(given["scratch"])})
    try:
        section = importlib.import_module(name).measure(setup)
    except MeasurementError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    Path(result).write_text(json.dumps(dataclasses.asdict(section)))


if __name__ == "__main__":
    main()
