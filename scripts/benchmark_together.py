"""What training several networks together gains: LeNet at batch 4, 32 and 128, 4 and 16 networks.

    python scripts/benchmark_together.py --data ROOT --json together.json

* one after another: `lenet_lab.train.run` for each job, with Lightning and everything that it does by default
* together: `lenet_lab.sweeps.together.train_together` for the same jobs, which differ in seed and learning rate

ROOT holds 32×32 image files, ROOT/train/<class>/* and ROOT/test/<class>/*; without --data the digits that come with
the package are used. Both run on the CPU, with the number of threads that the program chooses, or with --threads.
Each run is a process of its own. Only training steps are timed, not start-up, validation, test or checkpoints; the
milliseconds are those of one step of one network. The two take turns, and the order changes between repetitions.

It takes about 10 minutes on 2 cores. Leave the machine otherwise idle: other work shifts even the ratios, and makes
two threads many times slower. The medians belong into SPEEDUP of src/lenet_lab/sweeps/together.py.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmark_step import processor

CONTENDERS = ("one after another", "together")
AIM = (4, 16, 2.5)  # images in a batch, networks, times as fast
DIGITS = 1368  # training images


def run(contender: str, networks: int, batch: int, options: argparse.Namespace) -> None:
    """Print as JSON the milliseconds that a step of one network took, and the threads."""
    import torch

    from lenet_lab.compose import compose
    from lenet_lab.sweeps.together import train_together
    from lenet_lab.train import run as train

    steps = max(options.steps * 4 // (batch + 4), 10)
    words = ["trainer.accelerator=cpu", f"data.batch_size={batch}", f"threads={options.threads or 'null'}"]
    if options.data:
        quoted = "'" + str(options.data).replace("'", r"\'") + "'"
        words += ["data=image_folder", f"data.root={quoted}", "data.validation=0.01", "trainer.max_epochs=1"]
        words += [f"trainer.limit_train_batches={steps}", "trainer.limit_test_batches=1"]
    else:
        words += ["data=digits", f"trainer.max_epochs={math.ceil(steps / math.ceil(DIGITS / batch))}"]
    with tempfile.TemporaryDirectory() as folder:
        configs = []
        for number in range(networks):
            own = [f"seed={number}", f"optimizer.lr={0.001 * (number + 1)}"]
            configs.append(compose(*words, *own, folder=f"{folder}/{number}"))
            Path(folder, str(number)).mkdir()
        found = train_together(configs) if contender == "together" else [train(config) for config in configs]
    milliseconds = 1000 * sum(job["train/seconds"] for job in found) / sum(job["train/steps"] for job in found)
    print("\n" + json.dumps({"milliseconds": milliseconds, "threads": torch.get_num_threads()}))


def measure(contender: str, networks: int, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Do that in a process of its own."""
    command = [sys.executable, __file__, "--contender", contender, "--networks", str(networks)]
    command += ["--batches", str(batch), "--steps", str(options.steps)]
    command += ["--threads", str(options.threads)] if options.threads else []
    command += ["--data", str(options.data)] if options.data else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        print(f"benchmark_together: {contender} ended with exit status {done.returncode}", file=sys.stderr)
        raise SystemExit(1)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(cases: dict[tuple[int, int], dict[str, list[dict[str, Any]]]], load: float, data: str) -> list[Any]:
    """Print the Markdown table and the aim; give the rows for the JSON file."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "lightning")}
    print(f"- Hardware: {processor()}, {os.cpu_count()} CPUs; {platform.system()}; load average before: {load:.2f}")
    print("- Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    print(f"- Data: {data}; milliseconds a step of one network, median (min–max)\n")
    print("| batch | networks | one after another | threads | together | threads | times as fast |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows = []
    for (batch, networks), runs in cases.items():
        shown, medians = [], []
        for contender in CONTENDERS:
            times = [found["milliseconds"] for found in runs[contender]]
            medians.append(statistics.median(times))
            shown += [f"{medians[-1]:.2f} ({min(times):.2f}–{max(times):.2f})", runs[contender][0]["threads"]]
        rows.append({"batch": batch, "networks": networks, "ratio": medians[0] / medians[1], "runs": runs})
        print(f"| {batch} | {networks} | {' | '.join(map(str, shown))} | {rows[-1]['ratio']:.1f} |")
    for row in rows:
        if (row["batch"], row["networks"]) == AIM[:2]:
            verdict = "met" if row["ratio"] >= AIM[2] else "missed"
            print(f"\nAim of {AIM[2]} times at batch {AIM[0]} with {AIM[1]} networks: {verdict} ({row['ratio']:.2f})")
    return rows


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between."""
    return [int(word) for word in text.split(",")]


def main() -> None:
    """Measure all cases, or be one of the processes that do."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of train/ and test/ (default: digits)")
    parser.add_argument("--batches", type=numbers, default=[4, 32, 128], metavar="N,…", help="images in a batch")
    parser.add_argument("--networks", type=numbers, default=[4, 16], metavar="N,…", help="how many together")
    parser.add_argument("--threads", type=int, help="CPU threads (default: what the program chooses)")
    parser.add_argument(
        "--steps", type=int, default=600, help="of each network at batch 4, fewer at larger ones (default: %(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        run(options.contender, options.networks[0], options.batches[0], options)
        return
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"benchmark_together: warning: load average {load:.2f}, other work shifts the times", file=sys.stderr)
    cases: dict[tuple[int, int], dict[str, list[dict[str, Any]]]] = {
        (batch, networks): {name: [] for name in CONTENDERS}
        for batch in options.batches
        for networks in options.networks
    }
    for repetition in range(options.repetitions):
        for (batch, networks), runs in cases.items():
            for contender in CONTENDERS[:: 1 if repetition % 2 == 0 else -1]:
                runs[contender].append(measure(contender, networks, batch, options))
                milliseconds = runs[contender][-1]["milliseconds"]
                print(f"batch {batch}, {networks} networks, {contender}: {milliseconds:.3f} ms", file=sys.stderr)
    rows = report(cases, load, f"image files in {options.data.name}" if options.data else "digits, 1x32x32")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
