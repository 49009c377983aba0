"""SLURM: commands of its names that only take notes, and a real one that this machine runs for these tests alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab_engine.base.errors import UserError
from lab_engine.sweeps import slurm
from lab_engine.sweeps.job import Attempt, Job, Record, read_record, write_record
from lab_engine.sweeps.slurm import ENDINGS, Slurm
from tests import forked
from tests.conftest import SMALL, Command, Result, environment_in
from tests.lab_engine.sweeps.conftest import wait_until

CLUSTER = Path(__file__).parents[3] / "scripts" / "slurm_cluster.py"
TRAINER = {"devices": 1, "num_nodes": 1, "accelerator": "auto"}
QUICK = [*SMALL, "logger=none"]

# --- what is asked of SLURM, and what its answers mean ---


class Notes:
    """Commands of SLURM's names that write down how they are called, and answer as they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        self.command("sbatch", 'printf "%s\\n" "$@" >asked; cat >script; env >environment; echo 7')
        self.command("scancel", 'echo "$@" >>cancelled')
        self.queue()

    def command(self, name: str, script: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f"#!/bin/sh\ncd {self.folder}\n{script}\n")
        file.chmod(0o755)

    def queue(self, *lines: str) -> None:
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))
        self.command("squeue", "cat queue; echo look >>looks")

    def read(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def job(self, number: int = 0, **trainer: Any) -> Job:
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        write_record(folder, Record(number, ["seed=1"]))
        return Job(number, ("seed=1",), "lenet_lab.train", {"folder": str(folder), "trainer": TRAINER | trainer})


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    notes = Notes(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return notes


def test_a_job_asks_for_a_task_a_device_on_each_node(notes: Notes) -> None:
    Slurm().start(notes.job(devices=4, num_nodes=2))
    folder = notes.folder / "0"
    assert notes.read("asked") == [
        "--parsable",
        "--job-name=lenet_lab-0",
        f"--comment={folder}",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--export=ALL",
        "--requeue",
        "--open-mode=append",
        f"--output={folder}/train.log",
        "--cpus-per-task=1",
    ]
    assert notes.read("script")[-1].endswith(f"{sys.executable} -m lab_engine.sweeps.worker lenet_lab.train {folder}")


def test_settings_of_the_launcher_come_on_top(notes: Notes) -> None:
    launcher = Slurm(
        partition="gpu",
        account="lab",
        qos="long",
        timeout_minutes=90,
        cpus_per_task=6,
        memory_gb=32,
        options={"gpus_per_node": None, "gres": "gpu:a100:2", "exclusive": True, "requeue": None, "no-requeue": True},
    )
    launcher.start(notes.job(devices=2, accelerator="gpu"))
    asked = set(notes.read("asked"))
    assert asked >= {"--partition=gpu", "--account=lab", "--qos=long", "--time=90", "--mem=30518M", "--gres=gpu:a100:2"}
    assert asked >= {"--cpus-per-task=6", "--exclusive", "--no-requeue"}
    assert not any(word.startswith(("--gpus-per-node", "--requeue")) for word in asked)
    assert "export OMP_NUM_THREADS=6" in notes.read("script")


def test_gpus_are_asked_for(notes: Notes) -> None:
    Slurm().start(notes.job(devices=2, accelerator="gpu"))
    assert "--gpus-per-node=2" in notes.read("asked")


def test_a_job_inherits_the_environment_but_no_place_in_an_allocation(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_MEM_PER_NODE", "RANK", "MASTER_PORT", "SLURM_CONF", "MINE"):
        monkeypatch.setenv(name, "3")
    Slurm().start(notes.job())
    names = {line.partition("=")[0] for line in notes.read("environment")}
    assert names >= {"MINE", "SLURM_CONF", "PATH"}
    assert not names & {"SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_MEM_PER_NODE", "RANK", "MASTER_PORT"}


@pytest.mark.parametrize("devices", ["auto", [0, 2]])
def test_devices_must_be_a_number(notes: Notes, devices: Any) -> None:
    with pytest.raises(UserError, match="give a number"):
        Slurm().start(notes.job(devices=devices))


def test_without_slurm_there_is_a_word_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch or squeue or scancel here"):
        Slurm()


@pytest.mark.parametrize("state", ENDINGS)
def test_an_end_that_a_job_could_not_note_is_noted_for_it(notes: Notes, state: str) -> None:
    launcher, job = Slurm(seconds_between_looks=0.01), notes.job()
    launcher.start(job)
    write_record(notes.folder / "0", Record(0, ["seed=1"], "running", "", [Attempt("node", 1, 1.0)]))
    notes.queue("7|RUNNING|None|folder")
    assert launcher.wait(0.1) == []
    notes.queue(f"7|{state}|None|folder")
    assert launcher.wait(5) == [job]
    record = read_record(notes.folder / "0")
    assert record is not None
    assert record.state == ENDINGS[state][0]
    assert record.reason.startswith("SLURM job 7 ")
    assert record.attempts[0].ended is not None


def test_an_end_that_a_job_has_noted_stands(notes: Notes) -> None:
    launcher, job = Slurm(), notes.job()
    launcher.start(job)
    write_record(notes.folder / "0", Record(0, ["seed=1"], "failed", "no such file"))
    notes.queue("7|FAILED|NonZeroExitCode|folder")
    assert launcher.wait(5) == [job]
    record = read_record(notes.folder / "0")
    assert record is not None
    assert record.reason == "no such file"


def test_a_job_that_slurm_has_forgotten_can_be_continued(notes: Notes) -> None:
    launcher, job = Slurm(), notes.job()
    launcher.start(job)
    assert launcher.wait(5) == [job]
    record = read_record(notes.folder / "0")
    assert record is not None
    assert record.state == "interrupted"


def test_a_silent_controller_of_slurm_ends_no_job(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    launcher, job = Slurm(seconds_between_looks=0.01), notes.job()
    launcher.start(job)
    notes.command("squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1')
    assert launcher.wait(0.1) == []
    assert [record.getMessage() for record in caplog.records] == [
        "slurm_load_jobs error: Unable to contact slurm controller"
    ]
    notes.queue("7|TIMEOUT|TimeLimit|folder")
    assert launcher.wait(5) == [job]


def test_a_job_in_the_queue_is_not_submitted_again(notes: Notes) -> None:
    job = notes.job()
    folder = job.folder
    notes.queue(f"4|CANCELLED|None|{folder}", f"5|RUNNING|None|{folder}", "6|RUNNING|None|(null)")
    launcher = Slurm()
    launcher.start(job)
    assert notes.read("asked") == []
    launcher.stop(job, "pruned", "others do better")
    assert notes.read("cancelled") == ["--quiet 5"]
    notes.queue(f"5|CANCELLED|None|{folder}")
    assert launcher.wait(5) == [job]
    record = read_record(folder)
    assert record is not None
    assert (record.state, record.reason, record.slurm) == ("pruned", "others do better", 5)


def test_slots_limit_what_is_in_the_queue_and_looks_are_rare(notes: Notes) -> None:
    launcher = Slurm(slots=2, seconds_between_looks=60)
    launcher.start(notes.job())
    assert launcher.places == 1
    notes.queue("7|RUNNING|None|folder")
    for _ in range(5):
        assert launcher.wait(0.01) == []
    assert len(notes.read("looks")) == 2  # one for what was there before, one since


LIMIT = "sbatch: error: QOSMaxSubmitJobPerUserLimit"


def test_what_is_refused_while_others_run_is_tried_again(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    launcher = Slurm(slots=3, seconds_between_looks=0.01)
    first, second, third = (notes.job(number) for number in range(3))
    launcher.start(first)
    notes.queue("7|PENDING|QOSGrpNodeLimit|folder")
    notes.command("sbatch", f'echo "{LIMIT}" >&2; exit 1')
    launcher.start(second)
    launcher.start(third)
    assert launcher.places == 0
    assert launcher.wait(0.1) == []
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3  # each once
    assert said[0].startswith(f"Job 1: {LIMIT}\nOptions of sbatch: --job-name")
    assert said[2] == "SLURM job 7 is pending: QOSGrpNodeLimit"
    launcher.stop(third, "pruned", "others do better")
    assert launcher.wait(1) == [third]
    record = read_record(third.folder)
    assert record is not None
    assert (record.state, record.reason) == ("pruned", "others do better")
    notes.command("sbatch", "cat >script; echo 8")
    notes.queue("7|RUNNING|None|folder", "8|RUNNING|None|folder")
    assert launcher.wait(0.1) == []
    assert notes.read("script")[-1].endswith("/1")
    notes.queue("7|RUNNING|None|folder", "8|COMPLETED|None|folder")
    assert launcher.wait(1) == [second]


def test_what_is_refused_when_nothing_runs_ends_the_sweep(notes: Notes) -> None:
    notes.command("sbatch", f'echo "{LIMIT}" >&2; exit 1')
    with pytest.raises(UserError, match=f"^Job 0: {LIMIT}\nOptions of sbatch: --job-name"):
        Slurm().start(notes.job())


def test_a_job_that_slurm_does_not_cancel_runs_on(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    launcher, job = Slurm(seconds_between_looks=0.01), notes.job()
    launcher.start(job)
    notes.queue("7|RUNNING|None|folder")
    notes.command("scancel", 'echo "scancel: error: no connection" >&2; exit 1')
    launcher.stop(job, "pruned", "others do better")
    assert launcher.wait(0.05) == []
    launcher.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["scancel: error: no connection", "1 SLURM job is cancelled."]
    notes.queue("7|COMPLETED|None|folder")
    assert launcher.wait(1) == [job]
    launcher.close()  # nothing is left to cancel


def test_a_command_of_slurm_that_hangs_is_given_up(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "COMMAND_TIMEOUT", 0.2)
    notes.command("squeue", "exec sleep 60")
    with pytest.raises(UserError, match=r"^squeue does not answer within 0\.2 s\.$"):
        Slurm().start(notes.job())


# --- a real one ---


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment to reach it: two nodes of 4 CPUs each, all of them this machine."""
    if missing := [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)}: not installed (Debian's packages: slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("the daemons of SLURM need root")
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [sys.executable, CLUSTER, "start", folder, "--nodes=2", "--cpus=4"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert started.returncode == 0, started.stderr
    name, value = started.stdout.strip().removeprefix("export ").split("=")
    yield {name: value}
    subprocess.run([sys.executable, CLUSTER, "stop", folder], check=True)


class Sweep:
    """A sweep in a folder of its own, and the queue of its cluster."""

    def __init__(self, cluster: dict[str, str], where: Path, *overrides: str) -> None:
        self.environment = environment_in(where) | cluster
        self.folder = where / "sweep"
        words = ["launcher=slurm", "launcher.seconds_between_looks=0.5", f"hydra.sweep.dir={self.folder}"]
        self.command = [sys.executable, "-m", "lenet_lab.train", "-m", *QUICK, *words, *overrides]

    def start(self) -> subprocess.Popen[str]:
        return forked.Popen(
            self.command, cwd=self.folder.parent, env=self.environment, stderr=subprocess.PIPE, text=True
        )

    def run(self) -> int:
        with self.start() as process:
            process.communicate(timeout=200)
        return process.returncode

    def slurm(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True)
        return done.stdout

    def queue(self, states: str = "PENDING,RUNNING") -> dict[str, str]:
        """SLURM's numbers of the jobs, by run folder."""
        lines = self.slurm("squeue", "--noheader", f"--states={states}", "--format=%A %k").splitlines()
        numbers = (line.split(" ", 1) for line in lines)
        return {Path(folder).name: number for number, folder in numbers if str(self.folder) in folder}

    def record(self, job: int) -> Record:
        record = read_record(self.folder / str(job))
        assert record is not None
        return record

    def result(self, job: int) -> Result:
        return Result(0, "", "", self.folder / str(job))


def until(condition: Callable[[], object]) -> None:
    wait_until(condition, seconds=120)


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_learns_on_tasks_of_slurm_what_it_learns_on_devices_here(
    cluster: dict[str, str], tmp_path: Path, command: Command
) -> None:
    sweep = Sweep(cluster, tmp_path, "trainer.devices=1,2", "seed=1")
    assert sweep.run() == 0
    assert [sweep.record(job).state for job in range(2)] == ["done"] * 2
    here = command("train", *QUICK, "trainer.devices=2", "seed=1").metrics
    there = sweep.result(1).metrics
    assert {**there, "train/seconds": here["train/seconds"]} == here
    assert there["test/count"] == 359
    log = (sweep.folder / "1" / "train.log").read_text()
    assert "32 samples x 2 devices = 64 samples per step" in log
    assert log.count("run folder") == 1


@pytest.mark.slow
def test_a_job_on_two_nodes_that_is_requeued_ends_as_if_nothing_had_happened(
    cluster: dict[str, str], tmp_path: Path, command: Command
) -> None:
    recipe = ["trainer.max_epochs=12", "augment=shift", "scheduler=one_cycle", "seed=1"]
    sweep = Sweep(cluster, tmp_path, *recipe, "trainer.num_nodes=2")
    with sweep.start() as process:
        until(sweep.queue)
        number = sweep.queue()["0"]
        until((sweep.folder / "0" / "checkpoints" / "last.ckpt").exists)
        sweep.slurm("scontrol", "requeue", number)
        undisturbed = command("train", *QUICK, *recipe, "trainer.devices=2")
        process.communicate(timeout=200)
    assert process.returncode == 0
    assert sweep.record(0).state == "done"
    assert len(sweep.record(0).attempts) == 2
    for key in undisturbed.metrics.keys() - {"train/seconds"}:
        assert sweep.result(0).metrics[key] == undisturbed.metrics[key]
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (undisturbed.folder, sweep.folder / "0")
    ]
    for key in weights[0]:
        assert torch.equal(weights[0][key], weights[1][key])


@pytest.mark.slow
def test_jobs_outlive_the_sweep_and_are_found_again(cluster: dict[str, str], tmp_path: Path) -> None:
    sweep = Sweep(cluster, tmp_path, "trainer.max_epochs=20,5000")
    with sweep.start() as process:
        until(lambda: len(sweep.queue("RUNNING")) == 2)
        process.kill()
    numbers = sweep.queue()
    assert numbers.keys() == {"0", "1"}
    with sweep.start() as process:
        until((sweep.folder / "1" / "checkpoints" / "last.ckpt").exists)
        until(lambda: "is in SLURM's queue already" in (sweep.folder / "sweep.log").read_text())
        sweep.slurm("scancel", numbers["1"])
        process.communicate(timeout=200)
    assert process.returncode == 1  # not all is done
    assert sweep.queue("all") == numbers  # nothing was submitted twice
    assert [sweep.record(job).state for job in (0, 1)] == ["done", "killed"]
    assert sweep.record(1).reason == f"SLURM job {numbers['1']} was cancelled"
    assert [len(sweep.record(job).attempts) for job in (0, 1)] == [1, 1]
    assert [sweep.record(job).slurm for job in (0, 1)] == [int(numbers["0"]), int(numbers["1"])]


@pytest.mark.slow
def test_a_failure_in_all_tasks_is_noted_once(cluster: dict[str, str], tmp_path: Path) -> None:
    sweep = Sweep(cluster, tmp_path, "trainer.devices=2", "optimizer.momentum=0", "optimizer.nesterov=true")
    assert sweep.run() == 1
    reason = "optimizer (torch.optim.SGD): Nesterov momentum requires a momentum and zero dampening"
    assert (sweep.record(0).state, sweep.record(0).reason) == ("failed", reason)
    assert (sweep.folder / "0" / "train.log").read_text().count(reason) == 1


@pytest.mark.slow
def test_ctrl_c_cancels_what_is_in_the_queue(cluster: dict[str, str], tmp_path: Path) -> None:
    sweep = Sweep(cluster, tmp_path, "seed=1,2,3", "launcher.slots=2", "+launcher.options.begin=now+3600")
    with sweep.start() as process:
        until(lambda: len(sweep.queue()) == 2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=200)
    assert process.returncode != 0
    assert sweep.queue() == {}
    assert [sweep.record(job).state for job in range(3)] == ["interrupted", "interrupted", "waiting"]
    assert "2 SLURM jobs are cancelled." in (sweep.folder / "sweep.log").read_text()


@pytest.mark.slow
def test_what_slurm_refuses_is_said_in_two_lines(cluster: dict[str, str], tmp_path: Path) -> None:
    with Sweep(cluster, tmp_path, "launcher.partition=none").start() as process:
        _, err = process.communicate(timeout=100)
    assert process.returncode == 2
    first, second = err.splitlines()
    assert re.fullmatch("error: Job 0: sbatch: error: .*[Ii]nvalid partition.*", first)
    assert "--partition=none" in second
