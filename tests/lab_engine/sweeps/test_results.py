"""What is read of a sweep, whatever state its files are in, and how its groups compare."""

import json
import math
import socket
import statistics
from pathlib import Path
from typing import Any

import pytest

from lab_engine.artifacts.run_folder import lock
from lab_engine.base.errors import UserError
from lab_engine.sweeps.ranking import Group, rank
from lab_engine.sweeps.results import read_sweep
from tests.lab_engine.sweeps.sweep_folders import results, sgd, write_grid, write_job


def groups(sweep: Path, metric: str = "val/accuracy", mode: Any = "max") -> tuple[Group, ...]:
    return rank(read_sweep(sweep), metric, mode).groups


def test_seeds_are_averaged_and_the_best_is_chosen_on_validation(tmp_path: Path) -> None:
    accuracies = {0.01: (0.90, 0.92, 0.97), 0.1: (0.91, 0.915, 0.92)}
    for lr, each in accuracies.items():
        for seed, accuracy in enumerate(each):
            number = len(list(tmp_path.iterdir()))
            overrides = ["data=digits", f"optimizer.lr={lr}", f"seed={seed}"]
            test = 0.5 if lr == 0.01 else 0.99
            write_job(tmp_path, number, overrides, metrics=results(accuracy, test), optimizer=sgd(lr), seed=seed)
    ranking = rank(read_sweep(tmp_path), "val/accuracy", "max")
    assert [group.parameters for group in ranking.groups] == [{"optimizer.lr": 0.01}, {"optimizer.lr": 0.1}]
    best = ranking.best
    assert best is ranking.groups[0]
    result = best.of("val/accuracy")
    assert result is not None
    assert result.mean == pytest.approx(0.93)
    assert result.std == pytest.approx(statistics.stdev(accuracies[0.01]))
    assert (result.n, best.n, best.seconds) == (3, "3", pytest.approx(10, abs=1e-3))
    assert rank(read_sweep(tmp_path), "val/loss", "max").groups[0].parameters == {"optimizer.lr": 0.1}


def test_one_seed_has_no_spread(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["seed=1"], metrics=results(0.9, 0.8))
    (group,) = groups(tmp_path)
    result = group.of("val/accuracy")
    assert result is not None
    assert (result.mean, result.std, result.n, group.parameters) == (0.9, None, 1, {})


def test_failed_and_pruned_jobs_do_not_count(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["seed=1"], metrics=results(0.9, 0.8), seed=1)
    write_job(tmp_path, 1, ["seed=2"], "out of memory", reason="9 GiB were not enough", curve=[0.99], seed=2)
    write_job(tmp_path, 2, ["seed=3"], "pruned", reason="below the median", curve=[0.99], seed=3)
    (group,) = groups(tmp_path)
    assert group.n == "1 of 3"
    assert [(job.state, job.reason) for job in read_sweep(tmp_path).jobs[1:]] == [
        ("out of memory", "9 GiB were not enough"),
        ("pruned", "below the median"),
    ]


@pytest.mark.parametrize("bad", ["null", "NaN", "Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_not_finite_never_wins(tmp_path: Path, bad: str, mode: str) -> None:
    for number in range(3):
        write_job(tmp_path, number, [f"optimizer.lr={number}"], metrics=results(0.1, 0.1), optimizer=sgd(number))
    (tmp_path / "0" / "metrics.json").write_text(f'{{"val/accuracy": {bad}}}')
    (tmp_path / "1" / "metrics.json").unlink()
    first, second, third = groups(tmp_path, mode=mode)
    result = second.of("val/accuracy")
    assert first.parameters == {"optimizer.lr": 2}
    assert result is not None
    assert math.isnan(result.mean)
    assert third.of("val/accuracy") is None


def test_defaults_show_beside_what_was_chosen(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["data=digits"], metrics=results(0.9, 0.9))
    write_job(tmp_path, 1, ["data=digits", "optimizer.lr=0.1"], optimizer=sgd(0.1), metrics=results(0.9, 0.9))
    write_job(tmp_path, 2, ["data=digits", "+experiment=mine", "model=small"], choices={"model": "small"})
    assert [job.parameters for job in read_sweep(tmp_path).jobs] == [
        {"optimizer.lr": 0.001, "model": "lenet"},
        {"optimizer.lr": 0.1, "model": "lenet"},
        {"optimizer.lr": 0.001, "experiment": "mine", "model": "small"},
    ]


def test_groups_that_leave_no_name_are_named_by_what_was_given(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["scheduler=constant"], scheduler=None)
    write_job(tmp_path, 1, ["scheduler=cosine"], scheduler={"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"})
    assert [job.parameters for job in read_sweep(tmp_path).jobs] == [{"scheduler": "constant"}, {"scheduler": "cosine"}]


def test_without_records_the_configurations_are_compared(tmp_path: Path) -> None:
    small = {"_target_": "my.Small", "width": 32}
    adam = {"_target_": "torch.optim.AdamW", "lr": 0.006, "betas": [0.9, 0.999]}
    for number, config in enumerate(
        [
            {},
            {"seed": 7},
            {"optimizer": sgd(0.1)},
            {"optimizer": adam},
            {"model": small, "choices": {"data": "digits", "model": "small"}},
            {"model": {**small, "width": 64}, "choices": {"data": "digits", "model": "small"}},
        ]
    ):
        write_job(tmp_path, number, recorded=False, metrics=results(0.9, 0.9), **config)
    sweep = read_sweep(tmp_path)
    assert set(sweep.parameters) == {"model", "model.width", "optimizer", "optimizer.lr", "seed"}
    assert sweep.jobs[0].parameters == {"model": "lenet", "optimizer": "SGD", "optimizer.lr": 0.001, "seed": 42}
    assert sweep.jobs[3].parameters == {"model": "lenet", "optimizer": "AdamW", "optimizer.lr": 0.006, "seed": 42}
    assert sweep.jobs[5].parameters["model.width"] == 64
    assert [len(group.jobs) for group in groups(tmp_path)] == [2, 1, 1, 1, 1]
    assert {job.state for job in sweep.jobs} == {"done"}


def test_jobs_may_lie_deeper_and_have_any_name(tmp_path: Path) -> None:
    for number in (10, 9):
        write_job(tmp_path, number, recorded=False, folder=f"lr=0.1/seed={number}", seed=number)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("{}")
    (tmp_path / "lr=0.1" / "seed=9" / "old").mkdir()
    (tmp_path / "lr=0.1" / "seed=9" / "old" / "config.yaml").write_text("{}")
    jobs = read_sweep(tmp_path).jobs
    assert [(job.number, job.folder, job.state) for job in jobs] == [
        (0, "lr=0.1/seed=9", "unfinished"),
        (1, "lr=0.1/seed=10", "unfinished"),
    ]


def test_a_running_sweep(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["seed=1"], metrics=results(0.9, 0.9), seed=1)
    at_work = write_job(tmp_path, 1, ["seed=2"], "running", curve=[0.3, 0.5], host=socket.gethostname(), seed=2)
    write_job(tmp_path, 2, ["seed=3"], "waiting", seed=3)
    write_job(tmp_path, 3, ["seed=4"], "running", host="another", seed=4)
    assert [job.state for job in read_sweep(tmp_path).jobs] == ["done", "interrupted", "waiting", "running"]
    with lock(at_work):
        _, running, waiting, _ = read_sweep(tmp_path).jobs
        assert (running.state, waiting.seconds) == ("running", None)
        assert running.seconds is not None
        assert running.seconds >= 10
        assert [row["val/accuracy"] for row in running.curves] == [0.3, 0.5]
        assert read_sweep(tmp_path).running


def test_the_last_row_of_a_step_counts_and_torn_rows_do_not(tmp_path: Path) -> None:
    place = write_job(tmp_path, 0, ["seed=1"], "running")
    (place / "curves.csv").write_text(
        "epoch,step,train/loss,val/loss,val/accuracy\n"
        "1,40,,0.9,0.1\n2,80,0.5,0.8,0.2\n3,12\n2,80,0.4,nan,0.25\n3,120,0.3,0.6,0.3\n4,160,0.2,0.5,0.9"
    )
    (job,) = read_sweep(tmp_path).jobs
    assert [row["val/accuracy"] for row in job.curves] == [0.1, 0.25, 0.3]
    assert "train/loss" not in job.curves[0]
    assert math.isnan(job.curves[1]["val/loss"])


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", "a: [1"),
        ("config.yaml", "!!python/object/apply:os.system ['echo']"),
        ("config.yaml", "just words"),
        ("config.yaml", BOMB),
        ("config.yaml", "&a [*a]"),
        ("job.json", "{"),
        ("job.json", "[]"),
        ("job.json", '{"number": 1, "overrides": "none"}'),
        ("job.json", '{"number": 1, "overrides": [], "state": "hacked"}'),
        ("job.json", "[" * 100_000),
        ("metrics.json", ""),
        ("metrics.json", "[1]"),
        ("metrics.json", '{"val/accuracy": 1' + "0" * 400 + "}"),
        ("curves.csv", 'epoch,step\n"' + "x" * 200_000 + "\n"),
    ],
)
def test_a_damaged_file_costs_only_what_it_would_have_told(tmp_path: Path, file: str, content: str) -> None:
    for number in range(3):
        write_job(tmp_path, number, [f"seed={number}"], metrics=results(0.9, 0.8), curve=[0.5], seed=number)
    (tmp_path / "1" / file).write_text(content)
    first, damaged, last = read_sweep(tmp_path).jobs
    assert (first.reason, last.reason) == ("", "")
    assert (first.parameters, last.parameters) == ({"seed": 0}, {"seed": 2})
    assert damaged.state == "done"
    assert damaged.reason.startswith(f"{file} cannot be read: ")
    assert len(damaged.reason) <= 120
    assert damaged.parameters == {"seed": 1}
    assert ("val/accuracy" in damaged.metrics) == (file != "metrics.json")


def test_jobs_of_which_nothing_is_known_are_never_averaged(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "metrics.json").write_text(json.dumps(results(0.5 + number / 10, 0.5)))
    assert [group.n for group in groups(tmp_path)] == ["1", "1", "1"]


def test_words_that_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    write_job(tmp_path, 0, ["note=\udcff"], "failed", reason="\ud800")
    (job,) = read_sweep(tmp_path).jobs
    assert (job.overrides, job.reason) == (("note=?",), "?")


def test_reads_a_thousand_jobs(tmp_path: Path) -> None:
    write_grid(tmp_path, 1000, epochs=2)
    sweep = read_sweep(tmp_path)
    assert [job.number for job in sweep.jobs] == list(range(1000))
    assert sum(len(group.done) for group in rank(sweep, "val/accuracy", "max").groups) == 900


def test_a_folder_without_jobs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no jobs"):
        read_sweep(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        read_sweep(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is the folder of a single run"):
        read_sweep(write_job(tmp_path, 0))


def test_what_a_stranger_says_of_metrics_is_read_as_data(tmp_path: Path) -> None:
    task = {"monitor": ["val/loss"], "mode": 1, "directions": [1], "percent": 5}
    write_job(tmp_path, 0, metrics={"val/loss": 1.0}, task=task)
    (tmp_path / "0" / "task.json").write_text("[" * 90_000)
    assert read_sweep(tmp_path).task == {"monitor": None, "mode": None, "directions": {}, "percent": []}


def test_a_job_without_metrics_does_not_hide_what_the_others_rank_by(tmp_path: Path) -> None:
    task = {"monitor": "val/loss", "mode": "min", "directions": {}, "percent": []}
    write_job(tmp_path, 0, metrics={"val/loss": 1.0}, task=task)
    refused = write_job(tmp_path, 1, task={**task, "monitor": "val/los"})
    (refused / "metrics.json").unlink(missing_ok=True)
    assert read_sweep(tmp_path).task == task
    (tmp_path / "0" / "metrics.json").unlink()
    assert read_sweep(tmp_path).task == {}
