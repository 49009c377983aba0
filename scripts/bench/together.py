"""What training several networks together gains: LeNet at batch 4, 32 and 128, 4 and 16 networks.

* one after another: `lenet_lab.train.run` for each job, with Lightning and everything that it does by default
* together: `lenet_lab.sweeps.together.train_together` for the same jobs, which differ in seed and learning rate

Both run on the CPU, with the number of threads that the program chooses. Each run is a process of its own. Only
training steps are timed, not start-up, validation, test or checkpoints; the milliseconds are those of one step of one
network. In the quick form, only the case that has an aim. The medians of the full form belong into SPEEDUP of
src/lenet_lab/sweeps/together.py.
"""

import json
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from alternate import alternate
from command import call, on_images
from section import Aim, Section, Setup
from table import median_and_range

CONTENDERS = ("one after another", "together")
AIM = (4, 16, 2.5)  # images in a batch, networks, times as fast
CASES = {False: [AIM[:2]], True: [(batch, networks) for batch in (4, 32, 128) for networks in (4, 16)]}
STEPS = {False: 150, True: 600}  # of each network at batch 4, fewer at larger ones
REPETITIONS = 3


def measure(setup: Setup) -> Section:
    """Measure all cases."""
    rows: list[Any] = []
    aims: list[Aim] = []
    raw: dict[str, Any] = {}
    threads: dict[str, int] = {}

    def milliseconds(contender: str, batch: int, networks: int) -> float:
        steps = max(STEPS[setup.full] * 4 // (batch + 4), 10)
        done = call([__file__, contender, str(networks), str(batch), str(steps), str(setup.data)])
        found: dict[str, Any] = json.loads(done.output.splitlines()[-1])
        threads[contender] = found["threads"]
        return float(found["milliseconds"])

    for batch, networks in CASES[setup.full]:
        calls = {name: partial(milliseconds, name, batch, networks) for name in CONTENDERS}
        times = alternate(calls, REPETITIONS, setup.limit)
        ratio = statistics.median(times["one after another"]) / statistics.median(times["together"])
        for name, found in times.items():
            rows.append([name, batch, networks, threads[name], *median_and_range(found)])
        rows[-1].append(ratio)
        rows[-2].append(1.0)
        raw[f"batch {batch}, {networks} networks"] = times
        if (batch, networks) == AIM[:2]:
            text = f"times as fast at batch {batch} with {networks} networks >= {AIM[2]}"
            aims.append(Aim(text, ratio, ratio >= AIM[2]))
    about = "Training steps only: milliseconds of one step of one network. The threads are what the program chooses."
    columns = ["networks trained", "batch", "networks", "threads", "ms a step", "min–max", "times as fast"]
    return Section("Many networks at once", about, columns, rows, aims, {"milliseconds_a_step": raw})


def main() -> None:
    """Be a process that trains: print as JSON the milliseconds that a step of one network took, and the threads."""
    contender, networks, batch, steps, data = sys.argv[1:]
    import torch

    from lenet_lab.compose import compose
    from lenet_lab.sweeps.together import train_together
    from lenet_lab.train import run as train

    words = ["trainer.accelerator=cpu", f"data.batch_size={batch}", *on_images(Path(data)), "data.validation=0.01"]
    words += ["trainer.max_epochs=1", f"trainer.limit_train_batches={steps}", "trainer.limit_test_batches=1"]
    with tempfile.TemporaryDirectory() as folder:
        configs = []
        for number in range(int(networks)):
            own = [f"seed={number}", f"optimizer.lr={0.001 * (number + 1)}"]
            configs.append(compose(*words, *own, folder=f"{folder}/{number}"))
            Path(folder, str(number)).mkdir()
        found = train_together(configs) if contender == "together" else [train(config) for config in configs]
    milliseconds = 1000 * sum(job["train/seconds"] for job in found) / sum(job["train/steps"] for job in found)
    print("\n" + json.dumps({"milliseconds": milliseconds, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
