"""What TensorBoard's pictures cost: the tutorial run with them, without them, and without TensorBoard, in one run.

    python scripts/benchmark_dashboard.py --data ROOT --json dashboard.json

ROOT holds CIFAR-10 as image files, train/<class>/* and test/<class>/*. Variants take turns within each repetition, and
the order rotates between repetitions. Both the time of the whole command and the processor time it takes are given:
other programs disturb the second one less. It takes about a minute for each of 3 x repetitions on 2 cores. Exit
status: 2 for something the user can mend, 1 for a run that failed, else 0, aim met or missed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

VARIANTS = {
    "as you run it": [],
    "without pictures": ["callbacks.dashboard=null"],
    "without TensorBoard": ["logger=none"],
}
AIM = 0.02  # of the run without pictures


def fail(message: str, status: int = 2) -> NoReturn:
    """Ends with a line."""
    print(f"benchmark_dashboard: {message}", file=sys.stderr)
    raise SystemExit(status)


def run(variant: str, data: Path, folder: Path) -> dict[str, float]:
    """Seconds of a whole command, of the processor in it, and of its training steps."""
    settings = ["experiment=tutorial", "data=image_folder", f"data.root={data}", f"hydra.run.dir={folder}"]
    command = [sys.executable, "-m", "lenet_lab.train", *settings, *VARIANTS[variant]]
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode:
        fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", 1)
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    training = json.loads((folder / "metrics.json").read_text())["train/seconds"]
    return {"command": seconds, "processor": processor, "training": training}


def main() -> None:
    """Measure, print a table, and write it where asked."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of train/ and test/")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    options = parser.parse_args()
    if not (options.data / "train").is_dir():
        fail(f"--data {options.data}: there is no folder train/ in it")
    if options.repetitions < 1:
        fail(f"--repetitions {options.repetitions}: give a number, at least 1")

    names = list(VARIANTS)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        run(names[0], options.data.absolute(), Path(folder, "warm"))  # decodes the images
        for repetition in range(options.repetitions):
            turn = repetition % len(names)
            for name in names[turn:] + names[:turn]:
                place = Path(folder, f"{repetition} {name}".replace(" ", "-"))
                results[name].append(run(name, options.data.absolute(), place))
                print(f"{repetition + 1}/{options.repetitions} {name}: {results[name][-1]}", file=sys.stderr)

    print(f"\nPython {platform.python_version()}, torch {version('torch')}, lightning {version('lightning')}")
    print(f"median of {options.repetitions}, min–max\n")
    print("| tutorial run | command, s | | processor, s | | of it training, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    median = {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in results.items()
    }
    for name, runs in results.items():
        cells = []
        for key in ("command", "processor"):
            values = [one[key] for one in runs]
            cells += [f"{median[name][key]:.1f}", f"{min(values):.1f}–{max(values):.1f}"]
        print(f"| {name} | {' | '.join(cells)} | {median[name]['training']:.1f} |")
    for key in ("command", "processor"):
        with_pictures, without = (median[name][key] for name in names[:2])
        print(f"\nPictures, {key}: {with_pictures / without - 1:+.1%}; aim: at most {AIM:+.0%}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
