"""What an exported network gains: latency of LeNet (62,006 parameters) at batch 1 and 256, three ways to run it.

    python scripts/benchmark_export.py --json export.json

* pytorch: the network and its normalization, eager, in `torch.inference_mode()`
* torch.export: the .pt2 file, loaded again, in `torch.inference_mode()`
* onnxruntime: the .onnx file, on its CPU provider

Each takes uint8 images (N, 3, 32, 32) and gives logits and probabilities; the weights are random, which is no matter
for the time. All have the same number of threads. The three take turns within each repetition, and the order rotates
between repetitions; a repetition counts its median call. The first calls are not timed. Before all, their logits are
compared.

It takes about half a minute on 2 cores. Leave the machine otherwise idle: other work shifts even the ratios.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from benchmark_step import processor

from lenet_lab.data.decode import ImageFormat
from lenet_lab.data.normalize import Normalize
from lenet_lab.deploy.files import Run, run_onnx, run_torch, write_onnx, write_torch
from lenet_lab.deploy.network import Deployed, about, trace
from lenet_lab.deploy.parity import compare, sample
from lenet_lab.export import NEWEST_OPSET
from lenet_lab.from_checkpoint import TrainedNetwork
from lenet_lab.models.lenet import LeNet

SHAPE = (3, 32, 32)


def contenders(threads: int) -> dict[str, Run]:
    """Make the files, and open them."""
    network = LeNet(3, (32, 32), 10)
    trained = TrainedNetwork(network.eval(), Normalize(0.5, 0.5), tuple("0123456789"), ImageFormat(*SHAPE, "stretch"))
    deployed = Deployed(trained, "uint8")
    program, facts = trace(deployed), about(trained, deployed, "", "")
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(program, facts, NEWEST_OPSET, Path(folder, "model.onnx"))
        write_torch(program, facts, Path(folder, "model.pt2"))
        runs: dict[str, Run] = {
            "pytorch": deployed,
            "torch.export": run_torch(Path(folder, "model.pt2")),
            "onnxruntime": run_onnx(Path(folder, "model.onnx"), threads),
        }
    for name, run in runs.items():
        if not compare(trained, deployed, run).holds:
            print(f"benchmark_export: {name} gives other logits than PyTorch", file=sys.stderr)
            raise SystemExit(1)
    return runs


@torch.inference_mode()
def measure(run: Run, batch: int, seconds: float) -> float:
    """Milliseconds of the median call, of as many as `seconds` allow."""
    images = sample(batch, SHAPE)
    warm = time.perf_counter() + seconds / 5
    while time.perf_counter() < warm:
        run(images)
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def report(times: dict[int, dict[str, list[float]]], threads: int, load: float) -> dict[str, Any]:
    """Print the Markdown table; give the same for the JSON file."""
    packages = ("torch", "onnxruntime", "onnx", "onnxscript")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    hardware = f"{processor()}, {os.cpu_count()} CPUs"
    repetitions = len(next(iter(next(iter(times.values())).values())))
    print(f"- Hardware: {hardware}; {platform.system()}; load average before: {load:.2f}")
    print("- Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    print(f"- {threads} {'thread' if threads == 1 else 'threads'} each; {repetitions} repetitions, alternating\n")
    print("| batch | run by | ms a call, median | min–max | images a second | times as fast as PyTorch |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for batch, runs in times.items():
        medians = {name: statistics.median(found) for name, found in runs.items()}
        for name, found in runs.items():
            median = medians[name]
            print(
                f"| {batch} | {name} | {median:.3f} | {min(found):.3f}–{max(found):.3f} "
                f"| {1000 * batch / median:,.0f} | {medians['pytorch'] / median:.2f} |"
            )
    result = {"hardware": hardware, "versions": versions, "threads": threads, "load_average_before": load}
    return {**result, "milliseconds_a_call": times}


def main() -> None:
    """Measure all, in turns."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256], metavar="N", help="images in a call")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="measurements of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    options = parser.parse_args()
    if min(options.threads, options.repetitions, *options.batches) < 1 or options.seconds <= 0:
        parser.error("--batches, --threads and --repetitions must be at least 1, --seconds above 0")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"benchmark_export: warning: load average {load:.2f}, other work shifts the times", file=sys.stderr)
    torch.set_num_threads(options.threads)
    runs = contenders(options.threads)
    names = list(runs)
    times: dict[int, dict[str, list[float]]] = {batch: {name: [] for name in names} for batch in options.batches}
    for repetition in range(options.repetitions):
        turn = repetition % len(names)
        for batch, found in times.items():
            for name in names[turn:] + names[:turn]:
                found[name].append(measure(runs[name], batch, options.seconds))
                print(f"repetition {repetition + 1}: batch {batch}, {name} {found[name][-1]:.3f} ms", file=sys.stderr)
    result = report(times, options.threads, load)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
