"""An epoch over a million images that are mapped from a file."""

import argparse
from pathlib import Path

import runs
from part import Part

EVERY = 25  # steps between two measurements of memory
MAX_GROWTH = 1e8  # bytes


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Train on all images once, and compare the process's own memory over the epoch."""
    from tests.faults.trouble import growth, overrides, own_memory

    part = Part("a million images of 3x32x32 (3 GB) are trained on with constant memory")
    data = ["data=digits", "data._target_=tests.faults.million.Million", f"+data.folder={folder}"]
    data += ["data.batch_size=1000", "data.eval_batch_size=1000"]
    watch = overrides("Memory", every=EVERY)
    process = runs.start(
        folder, *data, *watch, *runs.COMMON, "trainer.max_epochs=1", "logger=none", "hydra.run.dir=run"
    )
    status = runs.finish(process, 3 * runs.MAX_SECONDS)
    if status:
        part.failures.append(f"status {status}: {(folder / 'err').read_text().strip()}")
        return part
    own = own_memory(folder / "run")
    grown = growth(own)
    part.facts = {
        "steps": EVERY * len(own),
        "own memory in MB, least": round(min(own) / 1e6),
        "most": round(max(own) / 1e6),
        "last": round(own[-1] / 1e6),
        "growth of the median from the first half of the epoch to the second": round(grown / 1e6),
    }
    if grown > MAX_GROWTH:
        part.failures.append("the memory grew")
    return part
