"""What the tests share: commands run as a user runs them, and small image folders."""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

import numpy as np
import psutil
import pytest

# begin: template
from filelock import FileLock

# end: template
from PIL import Image

# begin: template
from tests import forked
from tests.forked import run  # noqa: F811 - the same in less time
from tests.real_images import real_images, real_images_cache, session_folder  # noqa: F401 - some are fixtures

ROUNDING = 1e-5
"""Largest difference, relative or of numbers near 1, between one float32 result and the same computed in another order.

float32 keeps 24 bits (6e-8 of a number). LeNet adds up to 400 products for a value, five layers deep, and another
processor, batch size or library adds them in another order: about 1e-6. A wrong weight, factor or image moves a logit
or a loss by 1e-3 or more.
"""

KILLS = int(os.environ.get("KILLS", "2"))
"""How often a test kills at random moments; `make test-long` asks for more."""
# end: template

SMALL = ["data=digits", "data.batch_size=32", "optimizer.lr=0.05", "trainer.max_epochs=1"]
"""A run of a few seconds, most of them spent importing."""


def pytest_configure() -> None:
    """Heed Ctrl-C here and in all that tests start: after `nohup`, or with `&` in a script, it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# begin: template
def pytest_sessionstart(session: pytest.Session) -> None:
    """Start the process that forks others, where many tests run: on a busy machine it takes a test's whole minute."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        forked.run([sys.executable, "-c", ""], timeout=300)  # waits for it
    elif session.config.getoption("numprocesses", None):
        forked.start()  # one for all workers


# end: template
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests five minutes; others have one, as pyproject.toml says."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


def pytest_collection_finish() -> None:
    """Keep what has been imported from the garbage collector: it lives until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_runs_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a test leaves a process behind that works in the test's folder, and end it."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None:
        left = [process for process in psutil.process_iter() if _works_in(process, folder)]
        _, alive = psutil.wait_procs(left, timeout=30)  # one that was killed may take a moment
        for process in alive:
            process.kill()
        assert alive == []


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder)
    except (psutil.Error, OSError):  # it has ended, or is somebody else's
        return False


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """For what a test computes itself: two tests at once with two threads each are many times slower."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


# begin: template
OF_DATA = dict.fromkeys(("in_channels", "image_size", "num_classes"), "from_data")
"""Arguments of a network that the data give."""

FROM_DATA = "".join(f"{key}: {value}\n" for key, value in OF_DATA.items())
"""The same as lines of an option's file."""
# end: template


@dataclass
class Result:
    """How a command ended, and what it left."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())


Command = Callable[..., Result]


# begin: template
class PowerCutError(Exception):
    """Comes at any moment, with no chance to save anything."""


# end: template
def environment_in(where: Path) -> dict[str, str]:
    """Variables for a command in the folder `where`: those of this process, less a user's own settings."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("LENET_LAB_", "HYDRA_"))}
    return {**inherited, "LENET_LAB_CACHE": str(where / "cache"), "COLUMNS": "100"}


def run_command(where: Path, module: str, *overrides: str, options: tuple[str, ...] = (), **environment: str) -> Result:
    """Call `python -m lenet_lab.<module>` in the folder `where`; the run folder is `where/run` unless given.

    What is in `SMALL` gives way to what comes after it. `options` are Python's own.
    """
    chosen = [word.split("=", 1)[1] for word in overrides if word.startswith(("hydra.run.dir=", "resume="))]
    folder = where / (chosen[0] if chosen else "run")
    keys = [word.partition("=")[0] for word in overrides]
    given = [word for place, word in enumerate(overrides) if word not in SMALL or keys[place] not in keys[place + 1 :]]
    given += [] if chosen else [f"hydra.run.dir={folder}"]
    words = [sys.executable, *options, "-m", f"lenet_lab.{module}", *given]
    env = environment_in(where) | environment
    done = run(words, cwd=where, env=env, stdin=DEVNULL, capture_output=True, text=True, timeout=280)
    return Result(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`run_command` in an empty folder of the test's own."""
    return lambda module, *overrides, **rest: run_command(tmp_path, module, *overrides, **rest)


# begin: template
@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The quick start, run once for all tests that look at what it leaves."""
    where = session_folder(tmp_path_factory) / "digits"
    with FileLock(where.with_suffix(".lock")):
        if not (where / "result").exists():
            where.mkdir(exist_ok=True)
            result = run_command(where, "train", "experiment=digits")
            (where / "result").write_text(json.dumps([result.status, result.out, result.err]))
    result = Result(*json.loads((where / "result").read_text()), folder=where / "run")
    assert result.status == 0, result.err
    return result


def write_images(folder: Path, count: int, seed: int, mode: str = "RGB", suffix: str = "png") -> None:
    """Fill a folder with random 32x32 images, brighter for a higher seed so that there is something to learn."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 60, (32, 32, 3), dtype=np.uint8) + np.uint8(60 * seed)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number:04d}.{suffix}")


@pytest.fixture(scope="session")
def image_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and test/ of three classes; 50 test images, which neither 3 devices nor 3 classes divide."""
    root = tmp_path_factory.mktemp("images")
    for label, (name, test_count) in enumerate({"ant": 16, "bee": 17, "cow": 17}.items()):
        write_images(root / "train" / name, 40, label)
        write_images(root / "test" / name, test_count, label)
    return root


# end: template
