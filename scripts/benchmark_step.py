"""How long a training step takes: LeNet on CIFAR-10 at batch 4, five programs compared in one run.

    python scripts/benchmark_step.py --data ROOT --json step.json

ROOT holds CIFAR-10 as 32×32 image files: ROOT/train/<class>/* and, for lenet_lab, ROOT/test/<class>/*.

* tutorial: the protocol of PyTorch's CIFAR-10 tutorial; image files, transforms per image, 2 loader workers
* usual_lightning: the same loader and Lightning's defaults (progress bar, TensorBoard, checkpoint), with loss
  and accuracy logged at every step
* lightning_floor: a barebones Trainer on normalized images in memory; no metric, logger, bar or checkpoint
* bare_loop: a plain PyTorch loop on the same tensors
* lenet_lab: `python -m lenet_lab.train data=image_folder` with everything it does by default

All train the network of 62,006 parameters on the CPU by SGD with momentum, with torch's default number of
threads (lenet_lab with its own default). Each run is a process of its own whose output goes to a
pseudo-terminal, so that progress bars are drawn. Only training steps are timed, not start-up, decoding into
memory, validation, test or the final checkpoint. The contenders take turns within each repetition, and the
order rotates between repetitions.

It takes about 4 minutes on 2 cores, on Linux or macOS. Leave the machine otherwise idle: other work shifts
even the ratios. Milliseconds differ several times over between machines. Exit status: 2 for something the
user can mend, 1 for a contender that failed, else 0, aims met or missed.
"""

import argparse
import contextlib
import json
import os
import platform
import pty
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

# Lightning and torchmetrics are imported only in the contenders that use them.

BATCH = 4
CONTENDERS = ("tutorial", "usual_lightning", "lightning_floor", "bare_loop", "lenet_lab")
IN_MEMORY = ("lightning_floor", "bare_loop")
AIMS = (  # numerator, denominator, comparison, bound; of median times
    ("lenet_lab", "lightning_floor", "<=", 1.05),
    ("usual_lightning", "lenet_lab", ">=", 2.5),
    ("tutorial", "lenet_lab", ">=", 1.5),
)
REPOSITORY = Path(__file__).resolve().parents[1]


class LeNet(nn.Module):
    """(B, 3, 32, 32) float32 -> (B, 10) logits; 62,006 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Input in [-1, 1]."""
        x = self.pool(F.relu(self.conv1(x)))  # (B, 6, 14, 14)
        x = self.pool(F.relu(self.conv2(x)))  # (B, 16, 5, 5)
        x = F.relu(self.fc1(x.flatten(1)))  # (B, 120)
        x = F.relu(self.fc2(x))  # (B, 84)
        return self.fc3(x)  # (B, 10)


def sgd(network: nn.Module) -> torch.optim.SGD:
    """The optimizer of every contender."""
    return torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)


class MemoryBatches:
    """Shuffled images (B, 3, 32, 32) float32 in [-1, 1] and labels (B,) int64; only whole batches."""

    def __init__(self, folder: Path) -> None:
        pixels = torch.from_numpy(np.load(folder / "images.npy"))  # (N, 32, 32, 3) uint8
        self.images = pixels.permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)
        self.labels = torch.from_numpy(np.load(folder / "labels.npy"))

    def __len__(self) -> int:
        return len(self.labels) // BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels))
        for start in range(0, len(self) * BATCH, BATCH):
            index = order[start : start + BATCH]
            yield self.images[index], self.labels[index]


class TimedModule:
    """What the two LightningModules share: network, optimizer, and the seconds the training steps took."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LeNet()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the other contenders."""
        return sgd(self.network)

    def on_train_epoch_start(self) -> None:
        """Before the first batch is fetched."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """After the last step and before the checkpoint is written."""
        self.seconds = time.perf_counter() - self.start


def file_loader(root: Path) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches decoded and normalized image by image in 2 worker processes."""
    half = (0.5, 0.5, 0.5)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(half, half)])
    dataset = ImageFolder(str(root / "train"), transform=transform)
    return DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=2)


# --- the contenders: each runs in a process of its own and returns the seconds its training steps took ---


def tutorial(root: Path, steps: int) -> float:
    """The CIFAR-10 tutorial's loop, with the loss read at every step."""
    network = LeNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = sgd(network)
    batches = iter(file_loader(root))  # starts the workers, which Lightning also does before its first step
    running_loss = 0.0
    start = time.perf_counter()
    for step, (images, labels) in enumerate(islice(batches, steps), start=1):
        optimizer.zero_grad()
        loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
        if step % 2000 == 0:
            print(f"step {step:5d}  loss {running_loss / 2000:.3f}")
            running_loss = 0.0
    return time.perf_counter() - start


def bare_loop(arrays: Path, steps: int) -> float:
    """The least that training takes without Lightning."""
    batches = MemoryBatches(arrays)
    network = LeNet()
    optimizer = sgd(network)
    start = time.perf_counter()
    for images, labels in islice(batches, steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - start


def lightning_floor(arrays: Path, steps: int) -> float:
    """The least that training takes with Lightning's Trainer."""
    import lightning

    class Floor(TimedModule, lightning.LightningModule):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            return F.cross_entropy(self.network(images), labels)

    module = Floor()
    trainer = lightning.Trainer(barebones=True, accelerator="cpu", max_epochs=1, limit_train_batches=steps)
    trainer.fit(module, MemoryBatches(arrays))
    return module.seconds


def usual_lightning(root: Path, steps: int) -> float:
    """What a Lightning user writes first: a loader of files, and `self.log` for all one wants to see."""
    import lightning
    from lightning.pytorch.loggers import TensorBoardLogger
    from torchmetrics.classification import MulticlassAccuracy

    class Usual(TimedModule, lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")

        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            images, labels = batch
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            self.accuracy(logits, labels)
            self.log("train/loss", loss, prog_bar=True)
            self.log("train/accuracy", self.accuracy, prog_bar=True)
            return loss

    module = Usual()
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder)
        trainer = lightning.Trainer(accelerator="cpu", logger=logger, max_epochs=1, limit_train_batches=steps)
        trainer.fit(module, file_loader(root))
    return module.seconds


# --- the parent: prepares the images, starts the contenders, prints the table ---


def fail(message: str, status: int = 2) -> NoReturn:
    """Ends the program with the message on stderr."""
    print(f"benchmark_step: {message}", file=sys.stderr)
    raise SystemExit(status)


def image_folder(root: Path) -> ImageFolder:
    """The files of ROOT/train/<class>/*, as pixels (H, W, 3) uint8."""
    try:
        folder = ImageFolder(str(root / "train"), transform=np.array)
    except FileNotFoundError as error:
        fail(str(error).splitlines()[0])
    if len(folder.classes) != 10:
        fail(f"{root / 'train'} has {len(folder.classes)} class folders instead of 10")
    return folder


def decode(folder: ImageFolder, arrays: Path) -> None:
    """Writes images.npy (N, 32, 32, 3) uint8 and labels.npy (N,) int64."""
    images = np.empty((len(folder), 32, 32, 3), np.uint8)
    for row, (file, _) in enumerate(folder.samples):
        try:
            images[row] = folder[row][0]
        except (OSError, ValueError) as error:
            fail(f"{file} cannot be read as an image of 32×32 pixels: {error}")
    np.save(arrays / "images.npy", images)
    np.save(arrays / "labels.npy", np.array(folder.targets, np.int64))


def run_in_terminal(command: list[str]) -> tuple[int, str]:
    """Exit status of the command and the text it wrote to a pseudo-terminal of 120 columns and 30 rows."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 120))
    search_path = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": search_path, "TERM": "xterm-256color", "CUDA_VISIBLE_DEVICES": ""}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=env, start_new_session=True
    )
    os.close(slave)
    output = b""
    try:
        with contextlib.suppress(OSError):  # how Linux reports that the other side has closed
            while chunk := os.read(master, 65536):
                output += chunk
        status = child.wait()
    finally:
        os.close(master)
        if child.poll() is None:  # this program was interrupted
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return status, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode(errors="replace"))


def measure(name: str, root: Path, arrays: Path, steps: int) -> float:
    """Milliseconds a step of one run of the contender."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "metrics.json"
        if name == "lenet_lab":
            quoted = "'" + str(root).replace("'", r"\'") + "'"
            command = ["-m", "lenet_lab.train", "data=image_folder", f"data.root={quoted}"]
            command += [f"data.batch_size={BATCH}", f"hydra.run.dir={folder}"]
            command += ["trainer.max_epochs=1", f"trainer.limit_train_batches={steps}"]
        else:
            data = arrays if name in IN_MEMORY else root
            command = [__file__, "--contender", name, "--data", str(data), "--steps", str(steps)]
        status, output = run_in_terminal([sys.executable, *command])
        lines = [line for line in output.splitlines() if line.strip()]
        if status != 0:
            end = "\n  ".join(lines[-5:])
            fail(f"{name} ended with exit status {status}; its last lines:\n  {end}", status=1)
        if name == "lenet_lab":
            lines = [metrics.read_text()] if metrics.exists() else ["{}"]
        result = json.loads(lines[-1])
    if result.get("train/steps") != steps:
        fail(f"{name} trained {result.get('train/steps')} steps instead of {steps}", status=1)
    return 1000 * float(result["train/seconds"]) / steps


def processor() -> str:
    """The processor's name as Linux gives it, elsewhere what Python knows of it."""
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()


def judge(medians: dict[str, float]) -> list[dict[str, Any]]:
    """Each aim with its ratio and whether it was met, both None where a contender was left out."""
    aims = []
    for above, below, comparison, bound in AIMS:
        ratio = medians[above] / medians[below] if {above, below} <= medians.keys() else None
        met = None if ratio is None else (ratio <= bound if comparison == "<=" else ratio >= bound)
        aims.append({"aim": f"{above} / {below} {comparison} {bound}", "ratio": ratio, "met": met})
    return aims


def report(times: dict[str, list[float]], steps: int, data: str, load: float) -> dict[str, Any]:
    """Prints the Markdown table and the aims; returns the same for the JSON file."""
    packages = ("torch", "torchvision", "lightning", "torchmetrics")
    medians = {name: statistics.median(runs) for name, runs in times.items()}
    floor = medians.get("lightning_floor")
    result: dict[str, Any] = {
        "hardware": f"{processor()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} torch threads",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "load_average_before": load,
        "data": data,
        "steps": steps,
        "batch_size": BATCH,
        "milliseconds_a_step": times,
        "medians": medians,
        "times_floor": {name: median / floor for name, median in medians.items()} if floor else {},
        "aims": judge(medians),
    }
    print(f"- Hardware: {result['hardware']}; {platform.system()}; load average before: {load:.2f}")
    print("- Versions: " + ", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    print(f"- Data: {data}; {steps} steps a run at batch {BATCH}")
    print(f"- Runs of each: {max(map(len, times.values()))}, alternating\n")
    print("| contender | ms a step, median | min–max | × floor |\n| --- | ---: | ---: | ---: |")
    for name, runs in times.items():
        ratio = f"{result['times_floor'][name]:.2f}" if floor else "-"
        print(f"| {name} | {medians[name]:.3f} | {min(runs):.3f}–{max(runs):.3f} | {ratio} |")
    print()
    for aim in result["aims"]:
        verdict = {None: "not measured", True: "met", False: "missed"}[aim["met"]]
        print(f"Aim {aim['aim']}: {verdict}" + (f" ({aim['ratio']:.3f})" if aim["ratio"] else ""))
    return result


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    description, _, details = (__doc__ or "").partition("\n")
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=details, formatter_class=layout)
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of train/ and test/")
    parser.add_argument("--only", metavar="NAME,...", help="the contenders to run (default: all)")
    parser.add_argument("--steps", type=int, default=3000, help="steps of each run (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--contender", choices=CONTENDERS[:-1], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.data = options.data.resolve()
    options.only = options.only.split(",") if options.only else list(CONTENDERS)
    if unknown := [name for name in options.only if name not in CONTENDERS]:
        fail(f"--only {','.join(unknown)}: unknown; choose from {', '.join(CONTENDERS)}")
    if options.steps < 1 or options.repetitions < 1:
        fail("--steps and --repetitions must be at least 1")
    if options.json and not options.json.parent.is_dir():
        fail(f"--json {options.json}: its folder does not exist")
    return options


def main() -> None:
    """Runs the one contender that the parent asks for, or as the parent all of them in turn."""
    options = arguments()
    if options.contender:
        seconds = globals()[options.contender](options.data, options.steps)
        print("\n" + json.dumps({"train/seconds": seconds, "train/steps": options.steps}))
        return
    images = image_folder(options.data)
    if options.steps > len(images) // BATCH:
        fail(f"--steps {options.steps}: an epoch of {len(images)} images has {len(images) // BATCH}")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"benchmark_step: warning: load average {load:.2f}, other work shifts the times", file=sys.stderr)
    names = [name for name in CONTENDERS if name in options.only]
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        if set(names) & set(IN_MEMORY):
            decode(images, Path(folder))
        for repetition in range(options.repetitions):
            turn = repetition % len(names)
            for name in names[turn:] + names[:turn]:
                times[name].append(measure(name, options.data, Path(folder), options.steps))
                print(f"repetition {repetition + 1}: {name} {times[name][-1]:.3f} ms a step", file=sys.stderr)
    jpeg = images.samples[0][0].lower().endswith((".jpg", ".jpeg"))  # CIFAR-10 itself is not published as JPEG
    data = f"{'JPEG re-encoding of CIFAR-10' if jpeg else 'CIFAR-10'}, {len(images):,} training images"
    result = report(times, options.steps, data, load)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
