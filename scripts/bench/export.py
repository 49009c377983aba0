"""The latency of an exported LeNet (62,006 parameters) at batch 1 and 256, run in three ways.

* pytorch: the network and its normalization, eager, in `torch.inference_mode()`
* torch.export: the .pt2 file, loaded again, in `torch.inference_mode()`
* onnxruntime: the .onnx file, on its CPU provider; left out where it is not installed

Each takes uint8 images (N, 3, 32, 32) and returns logits and probabilities; the weights are random, which does not
change the time. All have the same number of threads. A repetition counts its median call; the first calls are not
timed. Their logits are compared first.
"""

import statistics
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from alternate import alternate
from section import MeasurementError, Section, Setup
from table import median_and_range

from lab_engine.export.command import NEWEST_OPSET
from lab_engine.export.files import Run, run_onnx, run_torch, write_onnx, write_torch
from lab_engine.export.network import trace
from lab_engine.export.parity import compare
from lab_engine.images.decode import ImageFormat
from lenet_lab.data.normalize import Normalize
from lenet_lab.models.lenet import LeNet
from lenet_lab.views.exported_classifier import exportable_classifier, sample
from lenet_lab.views.trained_network import TrainedNetwork

SHAPE = (3, 32, 32)
BATCHES = (1, 256)
REPETITIONS = 5
SECONDS = {False: 0.2, True: 1.0}  # of each measurement, in the quick form and the full one


def contenders(folder: Path) -> dict[str, Run]:
    """Write the files, and open them."""
    network = LeNet(3, (32, 32), 10)
    trained = TrainedNetwork(network.eval(), Normalize(0.5, 0.5), tuple("0123456789"), ImageFormat(*SHAPE, "stretch"))
    exportable = exportable_classifier(trained)
    program = trace(exportable)
    write_torch(program, exportable.metadata, folder / "model.pt2")
    runs: dict[str, Run] = {
        "pytorch": exportable,
        "torch.export": run_torch(folder / "model.pt2", exportable.outputs),
    }
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        write_onnx(program, exportable, exportable.metadata, NEWEST_OPSET, folder / "model.onnx")
        runs["onnxruntime"] = run_onnx(folder / "model.onnx", torch.get_num_threads())
    else:
        print("onnxruntime is left out: pip install -e '.[export]'", file=sys.stderr)
    for name, run in runs.items():
        if not compare(exportable, run).holds:
            raise MeasurementError(f"the logits of {name} differ from PyTorch's")
    return runs


@torch.inference_mode()
def milliseconds(run: Run, batch: int, seconds: float) -> float:
    """Return the milliseconds of the median call, of as many as `seconds` allow."""
    images = {"images": sample(batch, SHAPE)}
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


def measure(setup: Setup) -> Section:
    """Measure all ways in turn."""
    runs = contenders(setup.scratch)
    rows, raw = [], {}
    for batch in BATCHES:
        calls = {name: partial(milliseconds, run, batch, SECONDS[setup.full]) for name, run in runs.items()}
        found = alternate(calls, REPETITIONS)
        pytorch = statistics.median(found["pytorch"])
        for name, times in found.items():
            median = statistics.median(times)
            rows.append([name, batch, *median_and_range(times), 1000 * batch / median, pytorch / median])
        raw[f"batch {batch}"] = found
    return Section(
        "An exported network",
        f"A call of LeNet on the CPU, {torch.get_num_threads()} threads each; the last column compares with eager "
        "PyTorch.",
        ["run by", "batch", "ms a call", "min–max", "images a second", "times as fast"],
        rows,
        [],
        {"milliseconds_a_call": raw},
    )
