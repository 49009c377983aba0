"""Tasks and data that the package knows nothing of, by configuration from a folder outside it."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from lab_engine.artifacts.curves import read_curves
from lenet_lab.api import load
from tests import forked
from tests.conftest import Command, Result, environment_in, run_command, write_images
from tests.lenet_lab.views.test_tensorboard import events

CONF = Path(__file__).with_name("conf")
OWN = f"--config-dir={CONF}"
REGRESSION = [OWN, "task=regression", "data=waves", "model=mlp", "optimizer.lr=0.1", "trainer.max_epochs=3"]
GAN = [OWN, "task=gan", "data=ring", "trainer.max_epochs=3"]
TASKS = {"regression": (REGRESSION, {"mae", "r2"}, 49), "gan": (GAN, {"off"}, 179)}


@pytest.fixture(scope="module", params=TASKS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Result]:
    """A run of each task."""
    words, *_ = TASKS[request.param]
    result = run_command(tmp_path_factory.mktemp(request.param), "train", *words)
    assert result.status == 0, result.err
    return request.param, result


def test_metrics_are_those_that_the_task_logs(run: tuple[str, Result]) -> None:
    task, result = run
    _, names, parameters = TASKS[task]
    expected = {f"{stage}/{name}" for stage in ("val", "test") for name in names}
    assert result.metrics.keys() == expected | {"train/seconds", "train/steps"}
    rows = read_curves(result.folder / "curves.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    training = {"train/loss"} if task == "regression" else {"train/critic", "train/generator"}
    assert rows[0].keys() == {"epoch", "step", *training, *(f"val/{name}" for name in names)}
    monitored = "val/mae" if task == "regression" else "val/off"
    assert result.metrics[monitored] == pytest.approx(min(row[monitored] for row in rows))  # min, of best.ckpt
    assert f"{parameters:,} parameters" in result.out
    assert "images" not in result.out
    assert f"val {'mae' if task == 'regression' else 'off'} " in result.out
    page = (result.folder / "report.html").read_text()
    assert f">{monitored}<" in page
    assert "accuracy" not in page.partition("<h2>Configuration")[0].lower()


def test_what_is_better_is_known_from_torchmetrics(run: tuple[str, Result]) -> None:
    task, result = run
    known = json.loads((result.folder / "task.json").read_text())["directions"]
    assert known == ({"mae": "min", "r2": "max"} if task == "regression" else {})


def test_tensorboard_has_its_curves(run: tuple[str, Result]) -> None:
    task, result = run
    curves = set(events(result).Tags()["scalars"])
    assert {f"val/{name}" for name in TASKS[task][1]} <= curves
    rates = {name for name in curves if name.startswith("train/learning_rate")}
    assert rates == {f"train/learning_rate{which}" for which in ([""] if task == "regression" else ["/0", "/1"])}


def test_the_evaluate_line_can_be_pasted(run: tuple[str, Result], tmp_path: Path) -> None:
    _, result = run
    (line,) = re.findall("^evaluate +(.*)$", result.out, re.MULTILINE)
    words = shlex.split(line)[3:]
    again = run_command(result.folder.parent, "evaluate", *words, f"hydra.run.dir={tmp_path}/again")
    assert again.status == 0, again.err
    measured = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert measured == pytest.approx({name: value for name, value in result.metrics.items() if name in measured})
    assert any(name.startswith("test/") for name in measured)


def test_the_trained_task_is_loaded_in_a_line(run: tuple[str, Result]) -> None:
    task, result = run
    loaded = load(result.folder, config_dir=CONF)
    assert type(loaded).__name__ == {"regression": "Regression", "gan": "GAN"}[task]
    assert not loaded.training


def test_it_is_repeated_to_the_same(run: tuple[str, Result], command: Command) -> None:
    _, result = run
    again = command("train", f"from={result.folder}")
    assert again.status == 0, again.err
    assert "the same   as" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_one_that_was_killed_goes_on_to_the_same_end(task: str, command: Command, tmp_path: Path) -> None:
    words, *_ = TASKS[task]
    whole = command("train", *words, "hydra.run.dir=whole")
    (tmp_path / "kill.py").write_text(  # in the second epoch, after the checkpoint of the first
        "import os\nfrom lightning.pytorch import Callback\n"
        "class Kill(Callback):\n"
        "    def on_train_batch_end(self, trainer, *rest):\n"
        "        if trainer.current_epoch == 1 and not os.path.exists('killed'):\n"
        "            open('killed', 'w').close()\n"
        "            os.kill(os.getpid(), 9)\n"
    )
    cut = command("train", *words, "+callbacks.kill={_target_: kill.Kill}", "hydra.run.dir=cut")
    assert cut.status == -9
    assert "can be resumed at the end of an epoch only" in cut.out
    resumed = command("train", "resume=cut")
    assert resumed.status == 0, resumed.err
    first, second = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (whole.folder, tmp_path / "cut")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    times = {"train/seconds"}
    again = json.loads((tmp_path / "cut" / "metrics.json").read_text())
    assert {k: v for k, v in again.items() if k not in times} == {
        k: v for k, v in whole.metrics.items() if k not in times
    }


@pytest.mark.parametrize("task", TASKS)
def test_a_sweep_ranks_the_right_way_round(task: str, tmp_path: Path) -> None:
    words = [word for word in TASKS[task][0] if not word.startswith("optimizer.lr")]
    rate = "optimizer.lr" if task == "regression" else "task.lr"
    words += ["trainer.max_epochs=2", *(["data.workers=0"] if task == "gan" else [])]
    given = ["-m", *words, f"{rate}=0.1,0.0001", "seed=1,2", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = forked.run(
        ["python", "-m", "lenet_lab.train", *given], cwd=tmp_path, env=environment_in(tmp_path), timeout=280
    )
    assert done.returncode == 0, done.stderr
    metric = "val/mae" if task == "regression" else "val/off"
    values = {}
    for folder in (tmp_path / "sweep").glob("*/metrics.json"):
        config = yaml.safe_load((folder.parent / "config.yaml").read_text())
        found = config["optimizer" if task == "regression" else "task"]["lr"]
        values.setdefault(found, []).append(json.loads(folder.read_text())[metric])
    best = min(values, key=lambda each: sum(values[each]))
    assert f"best by {metric}: {rate}={best:g} (n=2" in done.stdout


def test_the_loss_of_each_of_two_optimizers_must_be_finite(command: Command) -> None:
    result = command("train", *GAN, "task.lr=1e30")
    assert result.status == 2
    assert "the loss is nan at step 2 (epoch 1, batch 1), and the run has ended." in result.err
    assert "\nTry a smaller learning rate; with callbacks.finite=null a run continues." in result.err


def test_two_devices_share_the_samples(command: Command) -> None:
    result = command("train", *REGRESSION, "trainer.devices=2", "trainer.max_epochs=1")
    assert result.status == 0, result.err
    assert result.metrics["train/steps"] == 3  # 120 points, 20 on each device
    assert "replicates some samples" in result.out


def test_a_search_goes_by_what_the_task_monitors(tmp_path: Path) -> None:
    given = ["-m", *REGRESSION, "sweeper=optuna", "sweeper.trials=3", "trainer.max_epochs=1"]
    space = ["optimizer.lr=tag(log,interval(0.001,0.1))", f"hydra.sweep.dir={tmp_path}/sweep"]
    words = [word for word in given if not word.startswith("optimizer.lr")]
    done = forked.run(
        ["python", "-m", "lenet_lab.train", *words, *space], cwd=tmp_path, env=environment_in(tmp_path), timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "best by val/mae" in done.stdout


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (
            [*REGRESSION, "loss.label_smoothing=0.1"],
            (
                "loss.label_smoothing=0.1 is refused: neither task=regression nor data=waves takes loss\n"
                "They take: model, optimizer"
            ),
        ),
        (
            [*REGRESSION[:3], "model=lenet"],
            (
                "model.in_channels=from_data is refused: data=waves does not give in_channels.\n"
                "It gives: nothing (data.gives is empty). Write the value in its place."
            ),
        ),
        (
            [*REGRESSION, "task.takes=[model,optimizer,teacher]"],
            (
                "task=regression takes teacher, which is not chosen.\n"
                "Choose an option of the group with +teacher=OPTION, or take it out of task.takes."
            ),
        ),
        (
            [*REGRESSION, "callbacks.checkpoint.monitor=val/r2"],
            (
                "callbacks.checkpoint.monitor=val/r2 needs callbacks.checkpoint.mode=max or "
                "callbacks.checkpoint.mode=min: it is not known whether higher or lower is better\n"
                "The task says it only of val/mae."
            ),
        ),
        (
            [*REGRESSION, "task.mode=most"],
            "task.mode=most is refused: give min or max (whether lower or higher is better for ",
        ),
        ([*REGRESSION, "~task.mode"], "task.mode is missing: give min or max (whether lower or higher is better for "),
        (
            [*REGRESSION, "~task.monitor"],
            (
                "callbacks.checkpoint.monitor refers to another value: Interpolation key 'task.monitor' not found\n"
                "Set task.monitor, to which it refers, or give callbacks.checkpoint.monitor=VALUE"
            ),
        ),
        ([*REGRESSION, "task.monitor=test/mae"], "task.monitor=test/mae is refused: give a metric of validation, "),
    ],
)
def test_each_refusal_comes_without_torch(words: list[str], refused: str, command: Command) -> None:
    result = command("train", *words, options=("-X", "importtime"))
    assert result.status == 2
    said = [line for line in result.err.splitlines() if not line.startswith("import time:")]
    assert "\n".join(said).startswith(f"error: {refused}")
    assert not re.search(r"\| +(torch|lightning)$", result.err, re.MULTILINE)
    assert not result.folder.exists()


def test_a_monitor_that_nothing_logs_is_named_after_the_first_validation(command: Command) -> None:
    result = command("train", *REGRESSION, "task.monitor=val/mse")
    assert result.status == 2
    assert "task.monitor=val/mse is refused: it was not logged by the end of the first validation;" in result.err
    assert "did you mean val/mae?\n" in result.err
    assert ", val/mae, val/r2\n" in result.err


def test_predict_and_export_say_what_a_task_would_have_to_offer(
    run: tuple[str, Result], command: Command, tmp_path: Path
) -> None:
    _, result = run
    checkpoint = f"checkpoint={result.folder}/checkpoints/best.ckpt"
    write_images(tmp_path / "images", 1, 0)
    for name, view, more in (("predict", "predict_step", []), ("export", "exportable", ["format=torch"])):
        refused = command(name, OWN, checkpoint, *more)
        assert refused.status == 2
        assert f"which has no method {view}(): {name} cannot use it." in refused.err
    refused = command("predict", OWN, checkpoint, "images=images")
    assert refused.status == 2
    assert "which has no method predictor() for images.\n" in refused.err


def test_speed_that_nobody_reads_is_refused(command: Command) -> None:
    result = command("train", *GAN, "speed.compile=default")
    assert result.err.startswith("error: speed.compile=default is refused: task=gan takes no model, ")
    result = command("train", *REGRESSION, "speed.data_on_device=true")
    assert result.err.startswith("error: speed.data_on_device=true is refused: data=waves has no key on_device ")


def test_what_a_callback_of_ones_own_logs_counts(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from lightning.pytorch import Callback\n"
        "class Own(Callback):\n"
        "    def on_validation_epoch_end(self, trainer, module):\n"
        "        module.log('val/half', 0.5)\n"
    )
    words = ["+callbacks.own={_target_: own.Own}", "callbacks.checkpoint.monitor=val/half"]
    asked = command("train", *REGRESSION, *words)
    assert "needs callbacks.checkpoint.mode=max or callbacks.checkpoint.mode=min" in asked.err
    result = command("train", *REGRESSION, *words, "callbacks.checkpoint.mode=max")
    assert result.status == 0, result.err
    assert result.metrics["val/half"] == 0.5
    assert {row["val/half"] for row in read_curves(result.folder / "curves.csv")} == {0.5}
