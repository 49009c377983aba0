"""How many jobs a sweep gets through: lenet_lab's own launcher, Hydra's basic one and joblib's, in one run.

    python scripts/benchmark_sweep.py --data ROOT --json sweep.json

* digits: 16 jobs of 10 epochs on the handwritten digits (batch 32), seed and learning rate differ
* cifar10: 4 jobs of 1,500 steps at batch 4 on CIFAR-10 as image files, ROOT/train/<class>/* and
  ROOT/test/<class>/*; left out without --data

by the launchers

* lenet_lab: `python -m lenet_lab.train -m …`; each job a process, as many at once as there are cores
* basic: the same with `hydra/launcher=basic`, one job after the other in one process
* joblib: the same with `hydra/launcher=joblib` and as many workers as there are cores; it is left out unless
  the package hydra-joblib-launcher is installed

A sweep's time is that of its whole command, imports and report included. The overhead of a job is the time of its
process less that of its training steps (so validation, test, checkpoints and setting up count as overhead).
Launchers take turns within each repetition, and the order rotates between repetitions. It takes about 6 minutes on
2 cores. Leave the machine otherwise idle. Exit status: 2 for something the user can mend, 1 for a sweep that failed,
else 0, aims met or missed.
"""

import argparse
import importlib.util
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
from typing import Any, NoReturn

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LAUNCHERS = {
    "lenet_lab": [],
    "basic": ["hydra/launcher=basic"],
    "joblib": ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={CORES}"],
}
DIGITS = [
    "data=digits",
    "data.batch_size=32",
    "trainer.max_epochs=10",
    "seed=1,2,3,4,5,6,7,8",
    "optimizer.lr=0.02,0.05",
]
CIFAR10 = ["data=image_folder", "trainer.max_epochs=1", "trainer.limit_train_batches=1500", "seed=1,2,3,4"]
AIM_RATIO = 1.8  # of jobs a minute, lenet_lab to basic
AIM_OVERHEAD = 0.5  # seconds a job


def fail(message: str, status: int = 2) -> NoReturn:
    """Ends with a line."""
    print(f"benchmark_sweep: {message}", file=sys.stderr)
    raise SystemExit(status)


def sweep(launcher: str, jobs: list[str], folder: Path) -> tuple[float, list[dict[str, float]]]:
    """Seconds of a whole sweep; of each job, seconds of its process and of its training steps."""
    command = [sys.executable, "-m", "lenet_lab.train", "-m", *jobs, *LAUNCHERS[launcher], f"hydra.sweep.dir={folder}"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        fail(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", 1)
    times = []
    for file in sorted(folder.glob("*/metrics.json")):
        one = {"training": json.loads(file.read_text())["train/seconds"]}
        record = file.with_name("job.json")
        if record.exists():
            attempts = json.loads(record.read_text())["attempts"]
            one["process"] = sum(attempt["ended"] - attempt["started"] for attempt in attempts)
        times.append(one)
    return seconds, times


def processor() -> str:
    """What it calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def report(name: str, results: dict[str, list[tuple[float, list[dict[str, float]]]]]) -> dict[str, Any]:
    """Print a table of one set of jobs, and whether the aims are met."""
    jobs = len(results["lenet_lab"][0][1])
    seconds = {launcher: statistics.median(run[0] for run in runs) for launcher, runs in results.items()}
    print(f"\n{name}: {jobs} jobs, median of {len(results['lenet_lab'])} sweeps\n")
    print("| launcher | seconds | min–max | jobs a minute | × basic |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for launcher, runs in results.items():
        low, high = min(run[0] for run in runs), max(run[0] for run in runs)
        ratio = f"{seconds['basic'] / seconds[launcher]:.2f}" if "basic" in seconds else ""
        rate = 60 * jobs / seconds[launcher]
        print(f"| {launcher} | {seconds[launcher]:.1f} | {low:.1f}–{high:.1f} | {rate:.1f} | {ratio} |")
    overhead = statistics.median(
        one["process"] - one["training"] for run in results["lenet_lab"] for one in run[1] if "process" in one
    )
    print(f"\nOverhead of a job: {overhead:.2f} s; aim: at most {AIM_OVERHEAD} s")
    if "basic" in seconds:
        print(f"Jobs a minute, × basic: {seconds['basic'] / seconds['lenet_lab']:.2f}; aim: at least {AIM_RATIO}")
    return {"jobs": jobs, "seconds": {launcher: [run[0] for run in runs] for launcher, runs in results.items()}} | {
        "overhead": overhead
    }


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder of train/ and test/ (default: digits only)")
    parser.add_argument("--repetitions", type=int, default=3, help="sweeps of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    options = parser.parse_args()
    if options.data and not (options.data / "train").is_dir():
        fail(f"--data {options.data} has no folder train: give one with train/<class>/* and test/<class>/*")
    if options.repetitions < 1:
        fail("--repetitions must be at least 1")
    return options


def main() -> None:
    """Run all sweeps in turn."""
    options = arguments()
    sets = {"digits": DIGITS}
    if options.data:
        sets["cifar10"] = [*CIFAR10, f"data.root={options.data.resolve()}"]
    names = list(LAUNCHERS)
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        print("joblib is left out: pip install hydra-joblib-launcher", file=sys.stderr)
        names.remove("joblib")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"benchmark_sweep: warning: load average {load:.2f}, other work shifts the times", file=sys.stderr)
    results: dict[str, Any] = {}
    versions = {package: version(package) for package in ("torch", "lightning", "hydra-core")}
    print(f"{processor()}, {CORES} cores; {', '.join(f'{key} {value}' for key, value in versions.items())}")
    with tempfile.TemporaryDirectory() as place:
        if options.data:  # decode once, so that no launcher pays for it
            sweep("lenet_lab", [*sets["cifar10"], "debug=one_batch", "seed=1,2"], Path(place) / "decode")
        for name, jobs in sets.items():
            runs: dict[str, list[tuple[float, list[dict[str, float]]]]] = {launcher: [] for launcher in names}
            for repetition in range(options.repetitions):
                turn = repetition % len(names)
                for launcher in names[turn:] + names[:turn]:
                    runs[launcher].append(sweep(launcher, jobs, Path(place) / f"{name}-{launcher}-{repetition}"))
                    print(
                        f"{name}, repetition {repetition + 1}: {launcher} {runs[launcher][-1][0]:.1f} s",
                        file=sys.stderr,
                    )
            results[name] = report(name, runs)
    if options.json:
        options.json.write_text(json.dumps({"processor": processor(), "cores": CORES, **versions, **results}) + "\n")


if __name__ == "__main__":
    main()
