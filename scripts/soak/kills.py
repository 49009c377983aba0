"""Runs that are killed at random moments, again and again, and resumed until they finish."""

import argparse
import random
import time
from itertools import count
from pathlib import Path

import runs
from part import Part

WAYS = {
    "one device": ["data.batch_size=16", "trainer.max_epochs=8"],
    "augmented, one cycle": ["data.batch_size=16", "trainer.max_epochs=8", "augment=shift", "scheduler=one_cycle"],
    "two devices": ["data.batch_size=16", "trainer.max_epochs=8", "trainer.devices=2"],
}
"""Ways to train, each with a twin."""
WORDS = [*runs.COMMON, "data=digits", "optimizer.lr=0.02", "trainer.log_every_n_steps=10", "threads=1"]
OFTEN = "callbacks.last.every_n_minutes=0.02"  # so that most kills come after a checkpoint in the middle of an epoch
MAX_KILLS = 8  # of a run


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Kill runs until the time is over, and let the last one finish."""
    part = Part("a run that is killed at any moment and resumed ends like its twin, bit for bit")
    chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    until = time.monotonic() + 60 * options.minutes
    killed = resumed = finished = 0
    twins: dict[str, tuple[Path, float]] = {}
    for number in count():
        way = list(WAYS)[number % len(WAYS)]
        if way not in twins:
            began = time.monotonic()
            where = folder / f"twin-{len(twins)}"
            if status := runs.finish(_start(where, WAYS[way])):
                part.failures.append(f"{way}: the twin ended with status {status}: {_said(where)}")
                return part
            twins[way] = where / "run", time.monotonic() - began
        twin_folder, seconds = twins[way]
        where = folder / str(number)
        process = _start(where, WAYS[way])
        for _ in range(chance.randint(1, MAX_KILLS)):
            if not _outlives(process, chance.uniform(0, 1.1 * seconds)):
                break
            runs.kill(process)
            process.wait()
            killed += 1
            resumed += _has_started(where)
            process = _start(where, WAYS[way])
        if status := runs.finish(process):
            part.failures.append(f"{way}, run {number}: status {status}: {_said(where)}")
        else:
            finished += 1
            found = runs.differences(where / "run", twin_folder)
            part.failures += [f"{way}, run {number}: {each}" for each in found]
        if time.monotonic() > until:
            break
    part.facts = {"kills": killed, "resumed": resumed, "runs finished": finished, "ways": len(twins)}
    return part


def _start(where: Path, words: list[str]) -> "runs.subprocess.Popen[str]":
    """Start a run, or resume it if it was killed after it had its folder."""
    where.mkdir(exist_ok=True)
    first = (*WORDS, OFTEN, *words, "hydra.run.dir=run")
    return runs.start(where, *(["resume=run"] if _has_started(where) else first))


def _has_started(where: Path) -> bool:
    return (where / "run" / "config.yaml").exists()


def _outlives(process: "runs.subprocess.Popen[str]", seconds: float) -> bool:
    """Return whether the process is still running after this many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    return process.poll() is None


def _said(where: Path) -> str:
    lines = (where / "err").read_text().splitlines()
    return " ".join(lines[-2:])
