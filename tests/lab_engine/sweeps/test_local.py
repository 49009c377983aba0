"""Jobs on this machine: real processes, and what may happen to them."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from lab_engine.sweeps import local
from lab_engine.sweeps.job import Job, Record, read_record, write_record
from lab_engine.sweeps.local import Local
from tests import forked
from tests.lab_engine.sweeps.conftest import TINY, Sweep, run_sweep, sweep_command, wait_until

TROUBLE = "+callbacks.trouble._target_=tests.lab_engine.sweeps.trouble.Trouble"
ROOT = os.pathsep.join(
    [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
)  # of tests.lab_engine.sweeps.trouble


@pytest.mark.slow
def test_whatever_happens_to_a_job_the_others_go_on(sweep: Callable[..., Sweep]) -> None:
    kinds = ["raise", "kill", "exit", "leave", "hang", "memory", "nothing"]
    done = sweep(
        *TINY, TROUBLE, f"+callbacks.trouble.kind={','.join(kinds)}", "launcher.timeout_minutes=0.5", PYTHONPATH=ROOT
    )
    assert done.status == 1
    assert dict(zip(kinds, done.states.values(), strict=True)) == {
        "raise": "failed",
        "kill": "killed",
        "exit": "failed",
        "leave": "failed",
        "hang": "timed out",
        "memory": "out of memory",
        "nothing": "done",
    }
    reasons = {kind: record.reason for kind, record in zip(kinds, done.jobs.values(), strict=True)}
    assert reasons["raise"] == "RuntimeError: on purpose"
    assert reasons["kill"] == "it was killed by SIGKILL"
    assert reasons["exit"] == "its process ended with status 7"
    assert reasons["leave"] == "gone"
    assert reasons["hang"] == "it took longer than 0.5 minutes"
    assert "memory" in reasons["memory"]
    for reason in reasons.values():
        assert reason in done.out
    log = (done.folder / "0" / "train.log").read_text()
    assert "Traceback" in log
    assert "with a second line" in log
    assert "Traceback" not in done.out + done.err
    assert len(list(done.folder.rglob("metrics.json"))) == 1


@pytest.mark.slow
def test_a_job_has_a_process_an_environment_and_a_log_of_its_own(sweep: Callable[..., Sweep]) -> None:
    misleading = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "9", "MASTER_PORT": "1", "SLURM_PROCID": "2"}
    done = sweep(
        *TINY, TROUBLE, "+callbacks.trouble.kind=tell", "seed=1,2", "launcher.slots=2", PYTHONPATH=ROOT, **misleading
    )
    assert done.status == 0, done.out + done.err
    told = [json.loads((done.folder / name / "told.json").read_text()) for name in ("0", "1")]
    assert len({one["pid"] for one in told}) == 2
    assert len({one["ppid"] for one in told}) == 1  # both forked from the warm process
    assert {one["start_method"] for one in told} == {"fork"}  # so workers of a DataLoader need not import torch again
    for name, one in zip(("0", "1"), told, strict=True):
        assert not misleading.keys() & one["environment"].keys()
        assert one["environment"]["OMP_NUM_THREADS"] == str(max(len(os.sched_getaffinity(0)) // 2, 1))
        assert f"run folder  {done.folder.name}/{name}" in (done.folder / name / "train.log").read_text()
    config = yaml.safe_load((done.folder / "1" / "config.yaml").read_text())
    assert (config["seed"], config["folder"]) == (2, str(done.folder / "1"))
    assert not {"launcher", "sweeper", "hydra"} & config.keys()
    assert "${" not in (done.folder / "1" / "config.yaml").read_text()


def test_a_wrong_value_of_one_job_is_refused_before_any_starts(sweep: Callable[..., Sweep]) -> None:
    done = sweep(*TINY, "optimizer.lr=0.1,-1")
    assert done.status == 2
    assert done.err == "error: optimizer.lr=-1 is refused: give a number above 0 (learning rate)\n"
    assert not list(done.folder.rglob("config.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("launcher.slots=0", "launcher.slots=0 is refused: give a whole number, at least 1, or null"),
        ("launcher.slot=1", "launcher.slot=1 is refused: there is no such key; did you mean slots?"),
        ("launcher=lokal", "launcher=lokal is refused: there is no such option; did you mean local?"),
        ("launcher.timeout_minutes=soon", "launcher.timeout_minutes=soon is refused: give a number above 0"),
        ("sweeper.direction=up", "sweeper.direction=up is refused: give maximize, minimize, or null"),
    ],
)
def test_a_wrong_setting_of_the_sweep_is_refused(
    sweep: Callable[..., Sweep], tmp_path: Path, override: str, message: str
) -> None:
    done = sweep(*TINY, "seed=1,2", override)
    assert done.status == 2
    assert done.err.startswith(f"error: {message}")
    assert len(done.err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_same_folder_takes_more_jobs_and_repeats_none(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    first = sweep(*TINY, "seed=1,2")
    files = {file: file.stat().st_mtime_ns for file in first.folder.rglob("*/metrics.json")}
    assert len(files) == 2
    more = sweep(*TINY, "optimizer.weight_decay=0,0.1", "seed=1,2,3")
    assert more.status == 0, more.err
    assert "6 jobs, 2 of them done already" in more.out
    assert all(file.stat().st_mtime_ns == time_ns for file, time_ns in files.items())
    assert all(len(record.attempts) == 1 for record in more.jobs.values())
    configs = [yaml.safe_load(file.read_text()) for file in more.folder.rglob("config.yaml")]
    assert sorted((c["optimizer"]["weight_decay"], c["seed"]) for c in configs) == [
        (decay, seed) for decay in (0, 0.1) for seed in (1, 2, 3)
    ]
    more.folder.rename(tmp_path / "moved")
    again = sweep(
        *TINY, "optimizer.weight_decay=0,0.1", "seed=1,2,3", "threads=1", "lean_loop=false", "hydra.sweep.dir=moved"
    )
    assert "6 jobs, 6 of them done already" in again.out


@pytest.mark.slow
def test_two_commands_share_a_sweep(tmp_path: Path) -> None:
    words, environment, folder = sweep_command(tmp_path, *TINY, "seed=1,2,3,4,5")
    both = [forked.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    outs = [process.communicate(timeout=200)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    jobs = Sweep(0, "", "", folder).jobs
    assert len(jobs) == 5
    assert all(len(record.attempts) == 1 for record in jobs.values())


@pytest.mark.slow
def test_ctrl_c_stops_the_jobs_and_leaves_nothing_running(tmp_path: Path) -> None:
    words, environment, folder = sweep_command(
        tmp_path, *TINY, TROUBLE, "+callbacks.trouble.kind=hang", "seed=1,2", "launcher.slots=2"
    )
    process = forked.Popen(
        words,
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = Sweep(0, "", "", folder)
    wait_until(lambda: list(found.states.values()) == ["running", "running"])
    pids = [record.attempts[-1].pid for record in found.jobs.values()]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "Traceback" not in err
    wait_until(lambda: not any(map(psutil.pid_exists, pids)))  # one that had just begun ends a moment later
    assert list(found.states.values()) == ["interrupted", "interrupted"]


@pytest.mark.slow
def test_a_sweep_of_evaluations(tmp_path: Path) -> None:
    trained = run_sweep(tmp_path, *TINY, "seed=1,2")
    checkpoints = ",".join(str(trained.folder / name / "checkpoints" / "best.ckpt") for name in ("0", "1"))
    done = run_sweep(tmp_path, f"checkpoint={checkpoints}", "hydra.sweep.dir=evaluated", module="evaluate")
    assert done.status == 0, done.err + done.out
    for name in ("0", "1"):
        expected = {key: value for key, value in trained.metrics(name).items() if key.startswith("test/")}
        assert done.metrics(name) == expected


def test_jobs_that_would_share_a_folder_are_refused(sweep: Callable[..., Sweep]) -> None:
    done = sweep(*TINY, "seed=1,2", "hydra.sweep.subdir=same")
    assert done.status == 2
    assert done.err.startswith("error: hydra.sweep.subdir=same gives two jobs the folder ")


def test_a_folder_that_holds_a_run_takes_no_sweep(sweep: Callable[..., Sweep], tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "config.yaml").write_text("mine")
    done = sweep(*TINY, "seed=1,2")
    assert done.status == 2
    assert "sweep holds a single run, and nothing is added to it." in done.err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["config.yaml"]


@pytest.mark.slow
def test_two_different_sweeps_begun_at_once_in_one_folder_keep_their_jobs_apart(tmp_path: Path) -> None:
    commands = [sweep_command(tmp_path, *TINY, f"seed={seeds}") for seeds in ("1,2", "3,4,4")]
    both = [forked.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE) for words, env, _ in commands]
    outs = [process.communicate(timeout=200)[0].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    found = Sweep(0, "", "", commands[0][2])
    assert set(found.states.values()) == {"done"}
    seeds = {name: yaml.safe_load((found.folder / name / "config.yaml").read_text())["seed"] for name in found.jobs}
    assert sorted(seeds.values()) == [1, 2, 3, 4]  # 4 was given twice
    for name, record in found.jobs.items():
        assert f"seed={seeds[name]}" in record.overrides


def test_a_job_that_cannot_run_here_is_refused_before_any_starts(sweep: Callable[..., Sweep]) -> None:
    done = sweep(*TINY, "trainer.num_nodes=1,2")
    assert done.status == 2
    assert done.err.startswith("error: trainer.num_nodes=2 needs SLURM")
    assert not list(done.folder.rglob("config.yaml"))


TRAINER = {"devices": 1, "num_nodes": 1, "accelerator": "auto"}


class Process:
    """Stands in for that of a job, which never ends."""

    pid = None
    exitcode = None


@pytest.mark.parametrize(
    ("trainer", "slots", "chosen"),
    [
        ({}, 3, [["0"], ["1"], ["2"]]),
        ({"devices": 2}, 1, [["0", "1"]]),
        ({"devices": [0, 2]}, 1, [["0", "2"]]),  # all jobs would name the same ones
        ({"devices": [1, 5]}, 1, [["1"]]),
        ({"accelerator": "cpu"}, 2, [[], []]),
    ],
)
def test_each_job_gets_gpus_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: dict[str, object], slots: int, chosen: list[list[str]]
) -> None:
    """As far as a machine without any can tell: three are made up."""
    variables = list[dict[str, str]]()

    def spawn(self: Local, target: object, *arguments: object) -> Process:
        variables.append(arguments[-1])  # type: ignore[arg-type]
        return Process()

    monkeypatch.setattr(local, "cores", lambda: 2)
    launcher = Local(slots=None, memory_gb=None, timeout_minutes=None)
    with monkeypatch.context() as patch:
        patch.setattr(local, "_visible", lambda count: ["0", "1", "2"])
        launcher._divide(TRAINER | trainer)
    assert launcher.slots == slots
    monkeypatch.setattr(Local, "_spawn", spawn)
    for number in range(slots):
        config = {"folder": str(tmp_path / str(number)), "trainer": TRAINER | trainer}
        launcher.start(Job(number, (), "lenet_lab.train", config))
    assert [running.gpus for running in launcher._running] == chosen
    own = "devices" not in trainer or isinstance(trainer["devices"], int)
    assert [each.get(local.SHARED_GPU, "") for each in variables] == [
        ",".join(gpus) if own else os.environ.get(local.SHARED_GPU, "") for gpus in chosen
    ]
    assert launcher.places == 0


@pytest.mark.parametrize(
    ("status", "ooms", "state", "reason"),
    [
        (-signal.SIGKILL, 0, "killed", "it was killed by SIGKILL"),
        (-signal.SIGKILL, -1, "out of memory", "the kernel killed it because memory ran out"),
        (-50, 0, "killed", "it was killed by signal 50"),
        (7, 0, "failed", "its process ended with status 7"),
    ],
)
def test_an_end_that_a_process_could_not_note_is_noted_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, ooms: int, state: str, reason: str
) -> None:
    monkeypatch.setattr(local, "_kernel_ooms", lambda: 0)
    job = Job(0, (), "lenet_lab.train", {"folder": str(tmp_path), "trainer": TRAINER})
    process = Process()
    process.exitcode = status  # type: ignore[assignment]
    write_record(tmp_path, Record(0, [], "running"))
    local._note_death(local._Running(job, process, [], 0.0, ooms))  # type: ignore[arg-type]
    record = read_record(tmp_path)
    assert record is not None
    assert (record.state, record.reason) == (state, reason)
    local._note_death(local._Running(job, Process(), [], 0.0, 0))  # type: ignore[arg-type]
    assert read_record(tmp_path) == record  # what is noted stands


def test_jobs_that_would_be_launched_differently_are_refused(tmp_path: Path) -> None:
    for name, slots in (("a", 1), ("b", 2)):
        option = tmp_path / "conf" / "experiment" / f"{name}.yaml"
        option.parent.mkdir(parents=True, exist_ok=True)
        option.write_text(f"# @package _global_\nlauncher:\n  slots: {slots}\n")
    done = run_sweep(tmp_path, *TINY, f"--config-dir={tmp_path}/conf", "experiment=a,b")
    assert done.status == 2
    assert "is refused: it changes launcher, which is the same for all jobs.\nGive launcher on the command" in done.err
