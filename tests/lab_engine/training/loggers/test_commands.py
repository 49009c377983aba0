"""Loggers as a user chooses them: what each has afterwards, read with the library's own reader."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lab_engine.artifacts.curves import read_curves
from lab_engine.artifacts.run_folder import in_folder
from lab_engine.config.command import read_config
from lab_engine.training import terminal
from lenet_lab.compose import compose
from lenet_lab.training import train
from tests import forked
from tests.conftest import SMALL, Command, PowerCutError, Result, environment_in, run_command
from tests.lab_engine.sweeps.conftest import run_sweep, wait_until
from tests.lab_engine.training.callbacks.test_resume_checkpoint import cut_at
from tests.lab_engine.training.loggers.readers import client, history, read_csv, read_mlflow, read_wandb, settings

ROOT = Path(__file__).parents[4]

ALL = "logger=[tensorboard,csv,mlflow,wandb]"
EPOCHS = 3
STEPS_AN_EPOCH = 43  # of SMALL


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run with all loggers at once, below a folder with a name that addresses must not be made of carelessly."""
    where = tmp_path_factory.mktemp("all") / "my runs ü"
    where.mkdir()
    result = run_command(where, "train", *SMALL, ALL, f"trainer.max_epochs={EPOCHS}", "hydra.run.dir=run")
    assert result.status == 0, result.err
    return result


def test_says_nothing_of_the_loggers_own_and_how_to_open_what_they_left(run: Result) -> None:
    assert run.err == ""
    after = run.out[run.out.index("results ") :].splitlines()
    assert [line.split()[0] for line in after] == ["results", "report", "evaluate", "dashboard", "dashboard", "upload"]
    assert "mlflow ui --backend-store-uri sqlite:///runs/mlflow.db" in run.out
    assert "wandb sync run/wandb/offline-run-*" in run.out
    before = run.out[: run.out.index("results ")]
    assert not re.search("mlflow|wandb|alembic|warn", before, re.IGNORECASE)


def test_leaves_nothing_but_what_the_readme_lists(run: Result) -> None:
    where = run.folder.parent
    assert read_config(run.folder)["logger"]["mlflow"]["tracking_uri"] == f"sqlite:///{where}/runs/mlflow.db?timeout=60"
    assert sorted(path.name for path in where.iterdir()) == ["run", "runs"]
    assert sorted(path.name for path in (where / "runs").iterdir()) == [".mlflow.db.lock", "mlflow.db"]
    assert sorted(path.name for path in run.folder.iterdir() if path.is_dir()) == [
        "checkpoints",
        "csv",
        "tensorboard",
        "wandb",
    ]


def test_tensorboard_has_curves_and_results(run: Result) -> None:
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert len(events.Scalars("val/accuracy")) == EPOCHS
    (best,) = events.Scalars("best/val/accuracy")
    assert best.value == pytest.approx(run.metrics["val/accuracy"])


def test_csv_has_curves_and_results(run: Result) -> None:
    rows = read_csv(run.folder)
    curve = [float(row["val/accuracy"]) for row in rows if "val/accuracy" in row]
    assert curve == pytest.approx([row["val/accuracy"] for row in read_curves(run.folder / "curves.csv")])
    assert len(curve) == EPOCHS
    assert float(rows[-1]["test/accuracy"]) == run.metrics["test/accuracy"]
    assert float(rows[-1]["best/val/accuracy"]) == run.metrics["val/accuracy"]
    assert "optimizer.lr: 0.05" in (run.folder / "csv" / "hparams.yaml").read_text()


def test_mlflow_has_curves_hyperparameters_and_results_in_one_file(run: Result) -> None:
    database = run.folder.parent / "runs" / "mlflow.db"
    ((name, kept),) = read_mlflow(database).items()
    assert (name, kept.info.status) == ("run", "FINISHED")
    assert {
        "seed": "42",
        "model": "lenet",
        "optimizer": "sgd",
        "optimizer.lr": "0.05",
    }.items() <= kept.data.params.items()
    for metric in ("test/accuracy", "test/loss"):
        assert kept.data.metrics[metric] == run.metrics[metric]
    assert kept.data.metrics["best/val/accuracy"] == run.metrics["val/accuracy"]
    curve = client(database).get_metric_history(kept.info.run_id, "val/accuracy")
    rows = read_curves(run.folder / "curves.csv")
    assert [point.step + 1 for point in curve] == [row["step"] for row in rows]
    assert [point.value for point in curve] == pytest.approx([row["val/accuracy"] for row in rows])
    assert len(client(database).get_metric_history(kept.info.run_id, "test/accuracy")) == 1


def test_wandb_has_curves_hyperparameters_and_results(run: Result) -> None:
    (folder,) = run.folder.glob("wandb/offline-run-*")
    records = read_wandb(folder)
    (begun,) = [record.run for record in records if record.HasField("run")]
    assert (begun.project, begun.display_name) == ("lenet_lab", "run")
    assert settings(records)["optimizer.lr"] == 0.05
    curve = [row["val/accuracy"] for row in read_curves(run.folder / "curves.csv")]
    assert history(records, "val/accuracy") == pytest.approx(curve)
    assert history(records, "test/accuracy") == [run.metrics["test/accuracy"]]
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
    assert not (folder / "files" / "output.log").exists()


@pytest.mark.slow
def test_jobs_at_once_share_a_database_that_none_has_made_yet(tmp_path: Path) -> None:
    done = run_sweep(tmp_path, *SMALL, "logger=[csv,mlflow,wandb]", "seed=1,2,3", "launcher.slots=2")
    assert done.status == 0, done.out + done.err
    runs = read_mlflow(tmp_path / "runs" / "mlflow.db")
    assert sorted(runs) == ["sweep/0", "sweep/1", "sweep/2"]
    for job in ("0", "1", "2"):
        kept, metrics = runs[f"sweep/{job}"], done.metrics(job)
        assert kept.info.status == "FINISHED"
        assert kept.data.params["seed"] == str(int(job) + 1)
        assert kept.data.metrics["test/accuracy"] == metrics["test/accuracy"]
        assert float(read_csv(done.folder / job)[-1]["test/accuracy"]) == metrics["test/accuracy"]
        (folder,) = (done.folder / job).glob("wandb/offline-run-*")
        records = read_wandb(folder)
        assert history(records, "test/accuracy") == [metrics["test/accuracy"]]
        assert settings(records)["seed"] == int(job) + 1
        said = (done.folder / job / "train.log").read_text()
        assert not re.search("alembic|warn", said, re.IGNORECASE)


@pytest.mark.slow
def test_several_devices_log_once(tmp_path: Path) -> None:
    result = run_command(tmp_path, "train", *SMALL, ALL, "trainer.devices=2")
    assert result.status == 0, result.err
    ((_, kept),) = read_mlflow(tmp_path / "runs" / "mlflow.db").items()
    assert kept.data.metrics["test/accuracy"] == result.metrics["test/accuracy"]
    assert kept.data.params["effective_batch"] == "64"
    (folder,) = result.folder.glob("wandb/offline-run-*")
    assert history(read_wandb(folder), "test/accuracy") == [result.metrics["test/accuracy"]]
    assert len([row for row in read_csv(result.folder) if "val/loss" in row]) == 1
    assert len({path.name.split(".")[-2] for path in result.folder.glob("tensorboard/events*")}) == 1  # one process


def test_a_run_that_was_cut_off_goes_on_in_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every, database, folder = 10, tmp_path / "mlflow.db", tmp_path / "run"
    words = ["logger=[csv,mlflow,wandb]", f"logger.mlflow.tracking_uri=sqlite:///{database}", "report=false"]
    words += [f"trainer.max_epochs={EPOCHS}", f"trainer.log_every_n_steps={every}"]
    folder.mkdir()
    config = in_folder(compose(*SMALL, *words), folder)
    cut_at(monkeypatch, 2 * STEPS_AN_EPOCH + 25)
    with pytest.raises(PowerCutError):
        train(config)
    before = read_mlflow(database)["run"]
    results = train(config)
    terminal.close_log()
    logging.captureWarnings(False)
    expected = {row["step"]: row["val/loss"] for row in read_curves(folder / "curves.csv")}
    rows = read_csv(folder)
    steps = [int(row["step"]) + 1 for row in rows if "train/loss" in row]
    assert steps == list(range(every, EPOCHS * STEPS_AN_EPOCH + 1, every))
    validated = [(int(row["step"]) + 1, float(row["val/loss"])) for row in rows if "val/loss" in row]
    assert [step for step, _ in validated] == list(expected)
    assert [loss for _, loss in validated] == pytest.approx(list(expected.values()))
    (kept,) = read_mlflow(database).values()
    assert (kept.info.status, kept.info.run_id) == ("FINISHED", before.info.run_id)
    points = client(database).get_metric_history(kept.info.run_id, "val/loss")
    assert {point.step + 1: point.value for point in points} == pytest.approx(expected)
    first, second = sorted(folder.glob("wandb/offline-run-*"))
    assert first.name.rpartition("-")[2] == second.name.rpartition("-")[2]
    assert history(read_wandb(second), "test/accuracy") == [results["test/accuracy"]]


@pytest.mark.slow
def test_a_killed_run_stays_running_in_mlflow_until_it_goes_on(tmp_path: Path) -> None:
    words = [*SMALL, "logger=mlflow", "logger.mlflow.tracking_uri=sqlite:///mlflow.db", "report=false"]
    words += ["trainer.max_epochs=20", "callbacks.dashboard=null", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "lenet_lab.train", *words]
    with forked.Popen(command, cwd=tmp_path, env=environment_in(tmp_path), stdout=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "run" / "checkpoints" / "last.ckpt").exists)
        process.kill()
    (killed,) = read_mlflow(tmp_path / "mlflow.db").values()
    assert killed.info.status == "RUNNING"
    assert run_command(tmp_path, "train", "resume=run").status == 0
    (ended,) = read_mlflow(tmp_path / "mlflow.db").values()
    assert (ended.info.status, ended.info.run_id) == ("FINISHED", killed.info.run_id)


def without(where: Path, *packages: str) -> dict[str, str]:
    """Variables for a process that cannot import these packages."""
    (where / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({packages}))\n")
    return {"PYTHONPATH": os.pathsep.join([str(where), os.environ.get("PYTHONPATH", "")])}


def test_missing_packages_are_told_with_their_extras_before_anything_starts(
    command: Command, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = without(tmp_path_factory.mktemp("site"), "mlflow", "wandb")
    result = command("train", *SMALL, "logger=[csv,mlflow,wandb]", **environment)
    assert result.status == 2
    assert result.err == (
        "error: logger.mlflow needs the package mlflow, logger.wandb needs the package wandb: "
        f"pip install -e '{ROOT}[mlflow,wandb]'\n"
    )
    assert list(tmp_path.iterdir()) == []
    swept = run_sweep(tmp_path, *SMALL, "logger=[tensorboard],[mlflow,wandb]", **environment)
    assert (swept.status, swept.err) == (2, result.err)
    assert not list(swept.folder.rglob("config.yaml"))


def test_a_database_that_is_none_is_refused_and_left_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("my notes, and no database at all")
    result = command("train", *SMALL, "logger=mlflow", "logger.mlflow.tracking_uri=sqlite:///notes.db")
    assert result.status == 2
    assert result.err == f"error: logger.mlflow cannot use sqlite:///{tmp_path}/notes.db: file is not a database\n"
    assert (tmp_path / "notes.db").read_text() == "my notes, and no database at all"
    assert not result.folder.exists()


def test_a_server_that_does_not_answer_is_named_without_its_password(command: Command) -> None:
    server = "logger.mlflow.tracking_uri='http://ada:secret@127.0.0.1:9'"
    result = command("train", *SMALL, "logger=mlflow", server)
    assert result.status == 2
    assert "error: logger.mlflow cannot use http://ada:…@127.0.0.1:9: " in result.err
    assert "secret" not in result.err


def test_what_fails_is_marked_as_failed(command: Command, tmp_path: Path) -> None:
    result = command("train", *SMALL, "logger=[mlflow,wandb]", "optimizer.lr=1e39", "report=false")
    assert result.status != 0
    ((_, kept),) = read_mlflow(tmp_path / "runs" / "mlflow.db").items()
    assert kept.info.status == "FAILED"
    (folder,) = result.folder.glob("wandb/offline-run-*")
    assert [record.exit.exit_code for record in read_wandb(folder) if record.HasField("exit")] == [1]
