"""The time from Enter to an answer, and from Enter to the first training step.

* --cfg job: the whole command
* plain imports: a script that only makes the imports of a run
* the same, quickly: the same imports, but torch and Lightning as lenet_lab imports them (`lab_engine.base.imports`)
* digits: `experiment=digits`, until the first training step is about to start
* image folder: the same with CIFAR-10 as image files that an earlier run has decoded

A callback from the command line ends a run at its first step; nothing else differs from a user's run. Where SciPy is
installed TorchMetrics imports it, which takes time: the table says whether it is installed.
"""

import importlib.util
import os
import shutil
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from alternate import alternate
from command import call, on_images
from section import Aim, Section, Setup
from table import median_and_range

REPETITIONS = 20
PLAIN, QUICK = "plain imports", "the same, quickly"
IMPORTS = """
import hydra, numpy, PIL.Image, psutil, pydantic, rich, torch, torch.utils.tensorboard
from lightning.pytorch import LightningModule, Trainer
"""
QUICKLY = f"from lab_engine.base.imports import import_quickly; import_quickly('lightning.pytorch')\n{IMPORTS}"
CONFIG = "--cfg job"
AIM_CONFIG = 0.5  # seconds
AIM_RATIO = 1.25  # of the time to the first step to that of the plain imports


def imports(code: str) -> float:
    """Return the seconds of a script, which ends as a run does in `first_step`, without cleaning up."""
    return call(["-c", f"{code}\nimport os; os._exit(0)"]).seconds


def first_step(words: list[str], folder: Path) -> float:
    """Return the seconds from Enter until a run starts its first step."""
    shutil.rmtree(folder, ignore_errors=True)
    own = ["+callbacks.end._target_=first_step.EndAtFirstStep", f"hydra.run.dir={folder}"]
    return call(["-m", "lenet_lab.train", *words, *own]).seconds


def measure(setup: Setup) -> Section:
    """Start them all in turn."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    folder = setup.scratch / "run"
    runs = {"digits": ["experiment=digits"], "image folder": on_images(setup.data)}
    for words in runs.values():  # decodes what is not decoded yet
        first_step(words, folder)
    contenders = {
        CONFIG: lambda: call(["-m", "lenet_lab.train", *CONFIG.split()]).seconds,
        **{name: partial(imports, code) for name, code in {PLAIN: IMPORTS, QUICK: QUICKLY}.items()},
        **{name: partial(first_step, words, folder) for name, words in runs.items()},
    }
    seconds = alternate(contenders, REPETITIONS, setup.limit)
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    rows: list[Any] = [
        [name, *median_and_range(times), middle[name] / middle[PLAIN], middle[name] / middle[QUICK]]
        for name, times in seconds.items()
    ]
    ratios = {name: middle[name] / middle[PLAIN] for name in runs}
    aims = [Aim(f"{CONFIG}, s <= {AIM_CONFIG}", middle[CONFIG], middle[CONFIG] <= AIM_CONFIG)]
    aims += [Aim(f"{name} / {PLAIN} <= {AIM_RATIO}", ratio, ratio <= AIM_RATIO) for name, ratio in ratios.items()]
    scipy = "installed" if importlib.util.find_spec("scipy") else "not installed"
    about = f"Whole commands; digits and image folder end where the first training step starts. SciPy is {scipy}."
    columns = ["start", "seconds", "min–max", f"times {PLAIN}", "times these, quickly"]
    return Section("Start-up", about, columns, rows, aims, {"seconds": seconds})
