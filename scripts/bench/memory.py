"""The memory of a run, and how much of it several processes share.

* imports: a script that makes the imports of a run, as lenet_lab makes them
* batch 4, batch 512: `data=image_folder`, with validation, test, pictures and report; the images are decoded already
* 2 devices: the two processes of `trainer.devices=2`
* 2 jobs at once: the two processes of a sweep of two jobs

For a single process, the peak of its resident set up to its end (ru_maxrss): as a process ends, torch's libraries touch
some 0.13 GB once more. For two processes, the sizes in smaps of Linux when their sum is largest: the resident set size
(RSS) counts a shared page for each of them, the proportional set size (PSS) half of it for each. The store is the file
of decoded images that they have mapped. MB are 10^6 bytes.
"""

import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from command import on_images
from section import Aim, MeasurementError, Section, Setup
from startup import QUICKLY

IMAGE = 3 * 32 * 32  # bytes
STEPS = {"batch 4": 1000, "2 devices": 300, "2 jobs at once": 300}  # at batch 4, unless in the full form
AIM_RATIO = 1.3  # of a run's peak to imports and data
AIM_SHARED = 0.6  # of the store's PSS to its RSS, with two processes
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Sizes:
    """MB of a process, and of the store in it."""

    rss: float
    pss: float
    store_rss: float
    store_pss: float


def peak(words: list[str], log: Path) -> float:
    """Return the peak memory of a process, in MB."""
    child = start(words, log)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    check(child, log)
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def together(words: list[str], log: Path) -> list[Sizes]:
    """Return the sizes of the two processes of a command that have mapped the store, when their sum is largest."""
    child = start(words, log)
    most: list[Sizes] = []
    while child.poll() is None:
        found = [sizes for process in descendants(child.pid) if (sizes := sizes_of(process)) is not None]
        if len(found) == 2 and sum(each.rss for each in found) > sum(each.rss for each in most):
            most = found
        time.sleep(SECONDS_BETWEEN_LOOKS)
    check(child, log)
    return most


def start(words: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start Python with these arguments."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )


def check(child: "subprocess.Popen[bytes]", log: Path) -> None:
    """Raise MeasurementError if the process has failed."""
    if child.returncode:
        raise MeasurementError("\n".join(deque(log.read_text(errors="replace").splitlines(), 8)))


def descendants(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def sizes_of(process: psutil.Process) -> Sizes | None:
    """Return the sizes of a process; None if it has not mapped the store, or has ended."""
    folder = Path("/proc", str(process.pid))
    try:
        store = [0.0, 0.0]
        inside = False
        for line in (folder / "smaps").read_text(errors="replace").splitlines():
            key, _, rest = line.partition(":")
            if " " in key:  # the head of a mapping: addresses, rights, …, path
                inside = line.endswith("/images.npy")
            elif inside and key in ("Rss", "Pss"):
                store[key == "Pss"] += megabytes(rest)
        whole = dict(line.split(":", 1) for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    except OSError:
        return None
    return Sizes(megabytes(whole["Rss"]), megabytes(whole["Pss"]), *store) if store[0] else None


def megabytes(text: str) -> float:
    """Convert "12 kB" of Linux, in units of 1024 bytes, to MB."""
    return int(text.split()[0]) * 1024 / 1e6


def measure(setup: Setup) -> Section:
    """Run all one after the other; memory does not depend on other programs."""
    limits = {} if setup.full else {name: [f"trainer.limit_train_batches={steps}"] for name, steps in STEPS.items()}
    train = ["-m", "lenet_lab.train"]
    common = [*on_images(setup.data), "trainer.max_epochs=1"]
    data = sum(1 for _ in setup.data.glob("*/*/*")) * IMAGE / 1e6
    log = setup.scratch / "log"
    imports = peak(["-c", QUICKLY], log)
    least = imports + data
    rows: list[list[Any]] = [["imports", imports, None, None, None, None]]
    rows += [["the images, uint8", data, None, None, None, None]]
    aims, raw = [], {"imports": imports, "images": data}
    for batch in (4, 512):
        name = f"batch {batch}"
        own = [f"data.batch_size={batch}", *limits.get(name, []), f"hydra.run.dir={setup.scratch / str(batch)}"]
        raw[name] = peak([*train, *common, *own], log)
        ratio = raw[name] / least
        rows.append([name, raw[name], None, None, None, ratio])
        aims.append(Aim(f"{name}: peak / (imports + images) <= {AIM_RATIO}", ratio, ratio <= AIM_RATIO))
    pairs = {
        "2 devices": ["trainer.devices=2", f"hydra.run.dir={setup.scratch / 'devices'}"],
        "2 jobs at once": ["-m", "seed=1,2", "launcher.slots=2", f"hydra.sweep.dir={setup.scratch / 'sweep'}"],
    }
    for name, words in pairs.items() if Path("/proc/self/smaps_rollup").exists() else ():
        found = together([*train, *words, *common, *limits.get(name, [])], log)
        raw[name] = [asdict(sizes) for sizes in found]
        for number, each in enumerate(found, 1):
            cells = (each.rss, each.pss, each.store_rss, each.store_pss)
            rows.append([f"{name}: process {number}", *cells, each.rss / least])
        if found:
            shared = sum(each.store_pss for each in found) / sum(each.store_rss for each in found)
            aims.append(Aim(f"{name}: PSS / RSS of the store <= {AIM_SHARED}", shared, shared <= AIM_SHARED))
    about = "Peak of a process; for two at once, when their sum is largest. The store holds the decoded images."
    columns = ["process", "RSS, MB", "PSS, MB", "store: RSS, MB", "store: PSS, MB", "times imports + images"]
    return Section("Memory", about, columns, rows, aims, raw)
