"""`python scripts/bench`: what becomes of what sections measure. How long anything takes is no matter here."""

import ast
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lab_engine.base.devices import SPIN_COUNT
from lab_engine.training import terminal
from tests.conftest import environment_in, write_images
from tests.processes import command_lines_with

BENCH = Path(__file__).parents[2] / "scripts" / "bench"

GOOD = """
import os, sys
from alternate import alternate
from section import Aim, Chart, Section
from table import median_and_range

def measure(setup):
    values = iter([1.5, 300.0, 0.0123, 2.0, 4.0, 8.0])
    found = alternate({"usual | code": lambda: next(values), "ours": lambda: next(values)}, 3)
    assert not setup.full and setup.real is False and not list(setup.scratch.iterdir())
    assert setup.limit == setup.seconds and {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    rows = [[name, *median_and_range(times), 62006, None] for name, times in found.items()]
    aims = [Aim("ours / usual <= 1.1", 1.2, False), Aim("on a GPU", None, None), Aim("ours <= 5", 4.0, True)]
    lines = {"ours": [(1.0, 2.0), (4.0, 1.0)], "usual": [(1.0, 3.0), (4.0, 3.0)]}
    about = "Words that say what is compared, and they go on for longer than a terminal of 80 columns is wide."
    return Section("A title", about, ["code", "ms", "min–max", "parameters", "nothing"], rows, aims, found,
                   Chart("batch", "ms a step", lines, log=True))
"""
BAD = """
def measure(setup):
    print("on the way")
    raise ValueError("no such thing")
"""
ENDLESS = """
import subprocess, sys, time
def measure(setup):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", str(setup.data)])
    print("at it", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the benchmarks with sections of the test's own, and ten classes of images."""
    shutil.copytree(BENCH, tmp_path / "scripts" / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in {"startup": GOOD, "memory": BAD, "step": ENDLESS}.items():
        (tmp_path / "scripts" / "bench" / f"{name}.py").write_text(text)
    for label in range(10):
        for split in ("train", "test"):
            write_images(tmp_path / "images" / split / f"class {label}", 2, 0)
    return tmp_path


def command(place: Path, *words: str) -> list[str]:
    return [sys.executable, str(place / "scripts" / "bench"), *words, "--data", str(place / "images")]


def bench(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment_in(place)
    return subprocess.run(command(place, *words), cwd=place, env=env, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
@pytest.mark.long
def test_a_section_that_fails_keeps_no_other_from_its_table(place: Path) -> None:
    done = bench(place, "memory", "startup")
    assert done.returncode == 1, done.stderr
    (results,) = (place / "build" / "bench").glob("2*")
    assert done.stdout.endswith(f"results  {results.relative_to(place)}\n")
    assert "1 of 2 aims met" in done.stdout
    assert "FAILED" in done.stdout
    assert "no such thing" in done.stdout
    assert (results / "memory.log").read_text().startswith("on the way\n")
    written = (results / "benchmarks.md").read_text()
    assert "| ours |" in written
    assert "![A title](startup.svg)" in written
    assert (results / "startup.svg").exists()
    found = json.loads((results / "benchmarks.json").read_text())
    assert found["sections"]["startup"]["raw"] == {"usual | code": [1.5, 2.0, 4.0], "ours": [300.0, 0.0123, 8.0]}
    assert "no such thing" in found["sections"]["memory"]["failed"]
    assert found["machine"]["versions"]["torch"]
    assert found["machine"]["cpu"]
    assert (found["form"], found["interrupted"]) == ("quick", False)


@pytest.mark.slow
@pytest.mark.long
def test_ctrl_c_keeps_what_is_measured_and_leaves_no_process(place: Path) -> None:
    words, env = command(place, "startup", "step"), environment_in(place)
    with subprocess.Popen(words, cwd=place, env=env, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        while not any("at it" in log.read_text() for log in place.glob("build/bench/2*/step.log")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=100)[0]
    assert process.returncode == 130, out
    assert "interrupted; the sections before it are kept" in out
    found = json.loads(next(place.glob("build/bench/2*/benchmarks.json")).read_text())
    assert (list(found["sections"]), found["interrupted"]) == (["startup"], True)
    if Path("/proc").is_dir():
        assert not command_lines_with(str(place))


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["steps"], {}, "there is no section steps. Choose from startup, "),
        (["--out", "images"], {}, "--out images exists already, and nothing is overwritten. Name a new folder."),
        (
            ["--data", "images/train"],
            {},
            "train/ has 0 class folders instead of 10.\nGive one with train",
        ),
        ([], {"BENCH": "ful"}, "BENCH=ful: give full, or nothing for the quick form."),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    place: Path, words: list[str], variables: dict[str, str], said: str
) -> None:
    env = environment_in(place) | variables
    done = subprocess.run(
        [sys.executable, "scripts/bench", *words], cwd=place, env=env, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert not (place / "build").exists()


# --- its parts ---


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """Modules of the folder, which are no package that could be imported by its name."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = (
        *("section", "alternate", "images", "scaling"),
        *("step_contenders", "plain_loop", "step"),
    )
    found = {name: __import__(name) for name in names}
    yield found
    for name in names:
        del sys.modules[name]


def constant(name: str) -> Any:
    """Of the module that is run, which cannot be imported under a name."""
    for statement in ast.parse((BENCH / "__main__.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == name:
            return ast.literal_eval(statement.value)
    raise AssertionError


def test_the_quick_form_is_made_for_ten_minutes() -> None:
    assert sum(seconds for name, seconds in constant("SECTIONS").items() if name not in constant("ONLY_FULL")) <= 540


def test_all_sections_are_there() -> None:
    for name in constant("SECTIONS"):
        tree = ast.parse((BENCH / f"{name}.py").read_text())
        assert ast.get_docstring(tree)
        assert "measure" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_turns_rotate_and_no_round_begins_that_would_be_too_long(parts: dict[str, ModuleType]) -> None:
    calls = []
    contenders = {name: lambda name=name: calls.append(name) or float(len(calls)) for name in "abc"}
    assert parts["alternate"].alternate(contenders, 2) == {"a": [1.0, 6.0], "b": [2.0, 4.0], "c": [3.0, 5.0]}
    assert "".join(calls) == "abcbca"
    assert parts["alternate"].alternate(contenders, 2, seconds=0.0) == {"a": [7.0], "b": [8.0], "c": [9.0]}


@pytest.mark.slow
@pytest.mark.long
def test_the_tutorial_does_two_epochs_and_then_its_test(place: Path) -> None:
    words = [sys.executable, str(BENCH / "step_contenders.py"), "tutorial", str(place / "images"), "10"]
    done = subprocess.run(words, env=environment_in(place), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["steps"] == 10  # 20 images are 5 batches
    assert result["seconds"] > 0
    assert 0 <= result["test/accuracy"] <= 1


def test_a_loop_says_how_many_steps_it_did(parts: dict[str, ModuleType]) -> None:
    batches = [(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))] * 3
    assert parts["step_contenders"].plain(batches, 2)["steps"] == 2
    assert parts["step_contenders"].plain(batches, 100)["steps"] == 3


@pytest.mark.parametrize("name", ["bare_loop", "lenet_lab"])
def test_a_step_is_timed_by_those_that_were_done(
    parts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def run(words: list[str]) -> list[str]:
        for word in words:
            if word.startswith("hydra.run.dir="):
                Path(word.partition("=")[2], "metrics.json").write_text('{"train/seconds": 2.0, "train/steps": 4}')
        return ["epoch 1", '{"seconds": 2.0, "steps": 4}']

    monkeypatch.setattr(parts["step"], "run_in_terminal", run)
    setup = parts["section"].Setup(tmp_path, tmp_path, False, 10.0)
    assert parts["step"].milliseconds(name, setup, 1000) == 500


def test_programs_of_others_wait_for_threads_as_they_do(
    parts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", SPIN_COUNT)
    assert "GOMP_SPINCOUNT" not in parts["step"].as_in_a_shell()
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert parts["step"].as_in_a_shell()["GOMP_SPINCOUNT"] == "7"


def test_the_last_epoch_of_a_run_is_timed(parts: dict[str, ModuleType], place: Path, tmp_path: Path) -> None:
    words = ("data.validation=0.5", "logger=none", "trainer.accelerator=cpu", f"data.cache={tmp_path / 'cache'}")
    setup = parts["section"].Setup(place / "images", tmp_path, False, 10.0)
    seconds = parts["scaling"].seconds_an_image(4, 2, *words, setup=setup, epochs=2)
    terminal.close_log()
    (log,) = tmp_path.glob("tmp*/train.log")
    (last,) = [line for line in log.read_text().splitlines() if line.startswith("epoch 2/2  train loss")]
    assert last.endswith(f" {1000 * 4 * seconds:.2f} ms each")


def test_a_stand_in_of_digits_where_there_is_no_cifar10(
    parts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = parts["images"]
    monkeypatch.setattr(images, "SPLITS", {"train": 2000, "test": 100})
    monkeypatch.setattr(images, "_official", lambda place: None)
    monkeypatch.delenv(images.VARIABLE, raising=False)
    found = images.find(None, tmp_path)
    assert not found.real
    assert found.about.startswith("NOT CIFAR-10")
    for split, count in {"train": 200, "test": 10}.items():
        assert [len(list(entry.iterdir())) for entry in (found.folder / split).iterdir()] == [count] * 10
    before = (found.folder / "train").stat()
    assert images.find(None, tmp_path) == found
    assert (found.folder / "train").stat() == before
    assert images.find(found.folder, tmp_path).folder == found.folder
