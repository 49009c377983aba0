"""50 jobs of a sweep, started at once, none of which finds decoded images."""

import argparse
import json
from pathlib import Path

import runs
from part import Part

JOBS = 50
IMAGES = 500  # of each class


def run(folder: Path, options: argparse.Namespace) -> Part:
    """Start the jobs, and count how many decode."""
    from tests.conftest import write_images

    part = Part(f"{JOBS} jobs started at once on a cold cache decode once")
    for label, name in enumerate(("ant", "bee", "cow")):
        write_images(folder / "images" / "train" / name, IMAGES, label)
        write_images(folder / "images" / "test" / name, IMAGES // 5, label)
    words = ["data=image_folder", "data.root=images", "debug=one_batch", "logger=none", *runs.COMMON]
    sweep = ["-m", *words, f"seed=range(1,{JOBS + 1})", f"launcher.slots={JOBS}", "hydra.sweep.dir=sweep"]
    status = runs.finish(runs.start(folder, *sweep), 3 * runs.MAX_SECONDS)
    logs = [file.read_text() for file in (folder / "sweep").glob("*/train.log")]
    decoded = {
        images: sum(f"Decoding {images:,} images" in log or f"Decoding {images} images" in log for log in logs)
        for images in (3 * IMAGES, 3 * IMAGES // 5)
    }
    done = len(list((folder / "sweep").glob("*/metrics.json")))
    starts = [json.loads(file.read_text())["attempts"][0]["started"] for file in (folder / "sweep").glob("*/job.json")]
    part.facts = {
        "jobs done": done,
        "decodings of train images": decoded[3 * IMAGES],
        "of test images": decoded[3 * IMAGES // 5],
        "seconds from the first start to the last": round(max(starts) - min(starts), 1) if starts else "none",
    }
    if status or done != JOBS:
        part.failures.append(f"the sweep ended with status {status}, and {done} jobs are done")
    if set(decoded.values()) != {1}:
        part.failures.append(f"images were decoded {decoded} times")
    return part
