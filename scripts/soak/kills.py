"""Runs that are killed at random moments, again and again, and continued with `resume=` to their end."""

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
OFTEN = "callbacks.last.every_n_minutes=0.02"  # so that most kills come after a checkpoint in the midst of an epoch
KILLS_A_RUN = 8  # at most


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Kill until the time is over; the run that is at work then is finished."""
    part = Part("a run that is killed at any moment and continued ends as one that was not, bit for bit")
    chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    until = time.monotonic() + 60 * options.minutes
    killed = continued = finished = 0
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
        for _ in range(chance.randint(1, KILLS_A_RUN)):
            if not _outlives(process, chance.uniform(0, 1.1 * seconds)):
                break
            runs.kill(process)
            process.wait()
            killed += 1
            continued += _has_begun(where)
            process = _start(where, WAYS[way])
        if status := runs.finish(process):
            part.failures.append(f"{way}, run {number}: status {status}: {_said(where)}")
        else:
            finished += 1
            found = runs.differences(where / "run", twin_folder)
            part.failures += [f"{way}, run {number}: {each}" for each in found]
        if time.monotonic() > until:
            break
    part.facts = {"kills": killed, "continued with resume=": continued, "runs finished": finished, "ways": len(twins)}
    return part


def _start(where: Path, words: list[str]) -> "runs.subprocess.Popen[str]":
    """Begin a run, or go on with one that was killed after it had its folder."""
    where.mkdir(exist_ok=True)
    begin = (*WORDS, OFTEN, *words, "hydra.run.dir=run")
    return runs.start(where, *(["resume=run"] if _has_begun(where) else begin))


def _has_begun(where: Path) -> bool:
    return (where / "run" / "config.yaml").exists()


def _outlives(process: "runs.subprocess.Popen[str]", seconds: float) -> bool:
    """Tell whether it is still at work after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    return process.poll() is None


def _said(where: Path) -> str:
    lines = (where / "err").read_text().splitlines()
    return " ".join(lines[-2:])
