"""`python -m lenet_lab.sweep_report`, as a user calls it."""

import csv
import json
import re
import statistics
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lab_engine.cli.sweep_folder import name_the_folder
from tests.conftest import SMALL, Command
from tests.lab_engine.cli.test_command import HEAVY, imported
from tests.lab_engine.sweeps.sweep_folders import results, sgd, write_job


def write_sweep(folder: Path) -> None:
    for number, lr in enumerate((0.01, 0.1)):
        write_job(folder, number, [f"optimizer.lr={lr}"], metrics=results(0.8 + lr, 0.5), optimizer=sgd(lr))
    write_job(folder, 2, ["optimizer.lr=10"], "killed", reason="signal 9", optimizer=sgd(10))


@pytest.mark.slow
def test_a_sweep_of_hydras_own_launcher(command: Command, tmp_path: Path) -> None:
    done = command(
        "train",
        "-m",
        *SMALL,
        "trainer.limit_train_batches=4",
        "optimizer.lr=0.01,0.05",
        "seed=7",
        "seed=1,2",
        f"hydra.sweep.dir={tmp_path}/sweep",
        "hydra.launcher._target_=hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    )
    assert done.status == 0, done.err
    assert "warning: seed=7 is not used: the same key comes again after it\n" in done.err
    result = command("sweep_report", "sweep")
    assert (result.status, result.err) == (0, "")
    with (tmp_path / "sweep" / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["optimizer.lr"], row["seed"]) for row in rows] == [
        *(("0.01", "1"), ("0.01", "2"), ("0.05", "1"), ("0.05", "2"))
    ]
    for row in rows:
        metrics = json.loads((tmp_path / "sweep" / row["number"] / "metrics.json").read_text())
        assert {name: float(row[name]) for name in metrics} == metrics
    for lr in ("0.01", "0.05"):
        each = [100 * float(row["val/accuracy"]) for row in rows if row["optimizer.lr"] == lr]
        assert f"{statistics.mean(each):.2f} ± {statistics.stdev(each):.2f} %" in result.out
    assert "4 jobs: 4 done" in result.out
    assert re.search(r"best by val/accuracy: optimizer.lr=0.0[15] \(n=2, jobs \d \d\)", result.out)
    assert (tmp_path / "sweep" / "report.html").stat().st_size > 1e6


def test_failed_jobs_are_no_failure_of_the_report(command: Command, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    result = command("sweep_report", "sweep", options=("-X", "importtime"))
    assert result.status == 0, result.err
    assert "3 jobs: 2 done, 1 killed" in result.out
    assert "signal 9" in result.out
    assert "best by val/accuracy: optimizer.lr=0.1 (n=1, job 1): val 90.00 %, test 50.00 %" in result.out
    assert result.out.endswith("results    sweep/results.csv\nreport     sweep/report.html\n")
    assert not imported(result.err) & {*HEAVY, "optuna", "numpy", "pandas"}  # too few jobs for the importance


def test_little_of_a_loss_is_good_whatever_is_asked(command: Command, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep")
    for number, loss in enumerate((2.0, 1.0)):
        file = tmp_path / "sweep" / str(number) / "metrics.json"
        file.write_text(json.dumps({"val/loss": loss, "test/loss": loss}))
    assert "best by val/loss: optimizer.lr=0.1 (" in command("sweep_report", "sweep", "metric=val/loss").out
    asked = command("sweep_report", "sweep", "metric=val/loss", "mode=max")
    assert asked.status == 2
    assert asked.err == "error: metric=val/loss cannot be used with mode=max: the worst would count as the best\n"


NAMES = [
    "a b",
    "lr=0.1,0.2",
    'it\'s "x"',
    "${x} $HOME",
    "a\\${b}",
    "[a]{b}(c)",
    "ü\\",
    "metric=val",
    "~x",
    "null",
    "a: b",
    "1",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    (word,) = name_the_folder([name])
    override = OverridesParser.create().parse_override(word)
    assert OmegaConf.create({"sweep": override.value()}).sweep == str(tmp_path / name)


def test_a_folder_of_an_odd_name(command: Command, tmp_path: Path) -> None:
    name = "lr=0.1, it's ${x} [ü]"
    write_sweep(tmp_path / name)
    result = command("sweep_report", "metric=val/loss", name, "mode=min")
    assert (result.status, result.err) == (0, "")
    assert "best by val/loss" in result.out
    assert (tmp_path / name / "report.html").exists()


def test_values_of_options_are_no_folders() -> None:
    words = ["--cfg", "job", "metric=val/loss", "runs/a"]
    assert name_the_folder(words) == ["--cfg", "job", "metric=val/loss", "sweep='runs/a'"]
    assert name_the_folder(["--help"]) == ["--help"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sweep is missing"),
        (["nowhere"], "nowhere is not a folder. Give the folder of a sweep"),
        (["empty"], "empty holds no jobs"),
        (["sweep/0"], "0 is the folder of a single run"),
        (["sweep", "empty"], "sweep empty: give one folder"),
        (
            ["sweep", "metric=val/acc"],
            "metric=val/acc is refused: no job has it; did you mean val/accuracy?\nmetrics: val/loss, val/accuracy",
        ),
        (["sweep", "metric=test/accuracy"], "metric=test/accuracy is refused: give a metric of metrics.json"),
        (["sweep", "mode=best"], "mode=best is refused: give max, min, or null (whether higher or lower"),
        (["sweep", "-m"], "-m is refused: sweep_report shows one thing at a time"),
    ],
)
def test_a_wrong_request_is_explained(command: Command, tmp_path: Path, words: list[str], message: str) -> None:
    write_sweep(tmp_path / "sweep")
    (tmp_path / "empty").mkdir()
    result = command("sweep_report", *words)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
