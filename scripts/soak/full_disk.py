"""Runs on a disk that fills up at random moments, and is emptied again."""

import argparse
import os
import random
import subprocess
import time
from pathlib import Path

import runs
import torch
from part import Part

CYCLES = 10
MEGABYTES = 30
WORDS = [*runs.COMMON, "data=digits", "data.batch_size=16", "optimizer.lr=0.02", "trainer.max_epochs=6", "threads=1"]
SAVES = ["trainer.log_every_n_steps=10", "callbacks.last.every_n_minutes=0.02"]


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Fill the disk, check the error, free space, resume, and compare the end with a twin's."""
    from tests.faults.trouble import fill

    part = Part(
        "a run on a full disk says so in two lines, loses nothing that it had saved, and can be resumed when there is "
        "space"
    )
    if os.geteuid() != 0:
        part.facts = {"cycles": "none: only root can make a small disk"}
        return part
    chance = random.Random(options.seed)  # noqa: S311 - moments, no secrets
    began = time.monotonic()
    if status := runs.finish(runs.start(folder, *WORDS, *SAVES, "hydra.run.dir=twin")):
        part.failures.append(f"the twin ended with status {status}")
        return part
    seconds, filled = time.monotonic() - began, 0
    for cycle in range(CYCLES):
        where = folder / f"disk{cycle}"
        where.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", where], check=True)
        try:
            process = runs.start(folder, *WORDS, *SAVES, f"hydra.run.dir={where}/run")
            time.sleep(chance.uniform(0.3, 1.0) * seconds)
            fill(where / "filler", chance.choice([0, 10_000, 300_000]))
            status = runs.finish(process)
            filled += status != 0
            if status not in (0, 2):
                part.failures.append(f"cycle {cycle}: status {status}")
            said = (folder / "err").read_text().splitlines()
            (folder / "err").unlink()
            if status and not (1 <= len(said) <= 2 and "No space left" in said[0]):
                part.failures.append(f"cycle {cycle}: it said {said}")
            for file in where.glob("run/checkpoints/*.ckpt"):
                torch.load(file, map_location="cpu", weights_only=True)
            (where / "filler").unlink()
            if status:
                if (where / "run" / "config.yaml").exists():
                    again = runs.start(folder, f"resume={where}/run")
                else:
                    again = runs.start(folder, *WORDS, *SAVES, f"hydra.run.dir={where}/run")
                if status := runs.finish(again):
                    part.failures.append(f"cycle {cycle}: with space again, status {status}")
                    continue
            part.failures += [f"cycle {cycle}: {each}" for each in runs.differences(where / "run", folder / "twin")]
        finally:
            subprocess.run(["umount", "-l", where], check=False)
    part.facts = {"disks": CYCLES, "runs on a full disk": filled}
    return part
