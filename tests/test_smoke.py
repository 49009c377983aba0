"""Each command once: whether the lab and the engine below it fit each other."""

import json
from pathlib import Path

import pytest
from PIL import Image

from lenet_lab.api import compose, load
from tests.conftest import SMALL, Command, Result, run_command

STEPS = ["trainer.limit_train_batches=4", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run of eight steps."""
    result = run_command(tmp_path_factory.mktemp("smoke"), "train", *SMALL, *STEPS)
    assert result.status == 0, result.err
    return result


def best(run: Result) -> str:
    return f"checkpoint={run.folder}/checkpoints/best.ckpt"


def test_a_run_leaves_what_it_promises(run: Result) -> None:
    left = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "metrics.json", "report.html", "curves.csv", "tensorboard", "train.log"} <= left
    assert run.metrics["train/steps"] == 8


def test_it_is_measured_again_to_the_same(run: Result, command: Command) -> None:
    result = command("evaluate", best(run))
    assert result.status == 0, result.err
    assert all(run.metrics[name] == value for name, value in result.metrics.items())


def test_it_is_loaded_in_a_line(run: Result) -> None:
    assert not load(run.folder).training
    assert compose(*SMALL)["seed"] == 42


def test_it_is_repeated_to_the_same(run: Result, command: Command) -> None:
    result = command("train", f"from={run.folder}")
    assert result.status == 0, result.err
    assert "the same   as" in result.out


def test_one_that_was_stopped_goes_on(run: Result, command: Command, tmp_path: Path) -> None:
    (tmp_path / "stop.py").write_text(
        "import os, signal\nfrom lightning.pytorch import Callback\n"
        "class Stop(Callback):\n"
        "    def on_train_epoch_end(self, trainer, module):\n"
        "        if not os.path.exists('stopped'):\n"
        "            open('stopped', 'w').close()\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    stopped = command("train", *SMALL, *STEPS, "+callbacks.stop={_target_: stop.Stop}")
    assert stopped.status == 143
    result = command("train", f"resume={stopped.folder}")
    assert result.status == 0, result.err
    assert {**result.metrics, "train/seconds": 0} == {**run.metrics, "train/seconds": 0}


def test_a_sweep_ranks_its_jobs(command: Command, tmp_path: Path) -> None:
    result = command(
        "train", "-m", *SMALL, "trainer.limit_train_batches=4", "seed=1,2", f"hydra.sweep.dir={tmp_path}/s"
    )
    assert result.status == 0, result.err
    assert "best by val/accuracy" in result.out
    assert (tmp_path / "s" / "results.csv").exists()


def test_it_is_exported_and_it_predicts(run: Result, command: Command, tmp_path: Path) -> None:
    exported = command("export", best(run), "format=torch", "file=model.pt2", "hydra.run.dir=exported")
    assert exported.status == 0, exported.err
    Image.new("L", (16, 16)).save(tmp_path / "black.png")
    predicted = command("predict", best(run), "images=black.png", "hydra.run.dir=predicted")
    assert predicted.status == 0, predicted.err
    assert (predicted.folder / "predictions.csv").read_text().count("\n") == 2


def test_a_wrong_value_is_refused_in_a_line(command: Command) -> None:
    result = command("train", "data=digits", "optimizer.lr=-1")
    assert result.status == 2
    assert result.err == "error: optimizer.lr=-1 is refused: give a number above 0 (learning rate)\n"


def test_the_anatomy_counts_the_parameters(command: Command) -> None:
    result = command("anatomy", "format=json")
    assert result.status == 0, result.err
    assert json.loads(result.out)
