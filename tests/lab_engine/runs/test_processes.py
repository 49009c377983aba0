"""Several devices: real processes that talk through gloo on this machine."""

import os
import sys
from pathlib import Path

import pytest
import torch

from lab_engine.base.devices import device_count, drop_launch_variables, limit_busy_waiting
from lab_engine.base.errors import UserError
from tests import forked
from tests.conftest import ROUNDING, SMALL, Command, Result, environment_in, run_command
from tests.resumed import differences


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> Result:
    overrides = [*SMALL, "data.batch_size=16", "trainer.devices=2"]
    result = run_command(tmp_path_factory.mktemp("two"), "train", *overrides)
    assert result.status == 0, result.err
    return result


@pytest.mark.slow
def test_two_devices_leave_one_run(two_devices: Result) -> None:
    assert two_devices.out.count("run folder") == 1
    assert "16 samples x 2 devices = 32 samples per step" in two_devices.out
    assert two_devices.err == ""
    assert sorted(path.name for path in two_devices.folder.iterdir() if path.name != "changes.patch") == [
        ".lock",
        "checkpoints",
        "config.yaml",
        "curves.csv",
        "environment.json",
        "metrics.json",
        "report.html",
        "task.json",
        "tensorboard",
        "train.log",
    ]
    files = two_devices.folder.glob("tensorboard/events*")
    assert len({path.name.split(".")[-2] for path in files}) == 1  # the process that has written them
    assert (two_devices.folder / "train.log").read_text() == two_devices.out


@pytest.mark.slow
def test_two_devices_learn_what_one_learns_from_batches_of_twice_the_size(command: Command, tmp_path: Path) -> None:
    """A step has the same images, added up in another order; three steps, for each enlarges the difference."""
    words = [*SMALL, "trainer.limit_train_batches=3", "logger=none", "report=false"]
    weights = []
    for name, more in {"one": [], "two": ["data.batch_size=16", "trainer.devices=2"]}.items():
        result = command("train", *words, *more, f"hydra.run.dir={tmp_path / name}")
        assert (result.metrics["test/count"], result.metrics["train/steps"]) == (359, 3)
        weights.append(torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    for key in weights[0]:
        torch.testing.assert_close(weights[0][key], weights[1][key], rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.slow
def test_two_devices_leave_the_same_with_lightnings_own_loop(two_devices: Result, tmp_path: Path) -> None:
    overrides = ["data.batch_size=16", "trainer.devices=2", "lean_loop=false", "report=false"]
    own = run_command(tmp_path, "train", *SMALL, *overrides)
    assert own.status == 0, own.err
    ours, theirs = (
        torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True) for result in (two_devices, own)
    )
    assert differences(ours["loops"], theirs["loops"]) == []
    for key, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 3])
def test_any_number_of_devices_measures_the_same_checkpoint_the_same(
    two_devices: Result, command: Command, devices: int
) -> None:
    """359 test images: 180 and 179, or 120, 120 and 119."""
    result = command("evaluate", f"checkpoint={two_devices.folder}/checkpoints/best.ckpt", f"trainer.devices={devices}")
    assert result.status == 0, result.err
    expected = {key: value for key, value in two_devices.metrics.items() if key.startswith("test/")}
    sums = {"test/loss", "test/calibration_error"}  # of floats, in another order
    for key in sums:
        assert result.metrics[key] == pytest.approx(expected[key], rel=ROUNDING)
    for key in expected.keys() - sums:
        assert result.metrics[key] == expected[key]


@pytest.mark.slow
def test_an_error_in_the_processes_is_said_once(command: Command) -> None:
    result = command("train", "data=digits", "trainer.devices=2", "optimizer.momentum=0", "optimizer.nesterov=true")
    assert result.status == 2
    assert result.err.splitlines() == [
        "error: optimizer (torch.optim.SGD): Nesterov momentum requires a momentum and zero dampening"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_a_sweep_gives_each_job_one_folder(tmp_path: Path, devices: int) -> None:
    jobs = [f"trainer.devices={devices}", "seed=1,2", "logger=none"]
    done = forked.run(
        [sys.executable, "-m", "lenet_lab.train", "-m", *SMALL, *jobs],
        cwd=tmp_path,
        env=environment_in(tmp_path),
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "runs" / "train").iterdir()
    assert sorted(path.parent.name for path in sweep.rglob("metrics.json")) == ["0", "1"]
    assert len(list(sweep.rglob("config.yaml"))) == 2


def test_a_command_forgets_the_allocation_it_is_called_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a batch script of SLURM, or in the shell that salloc gives."""
    for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_ID", "RANK", "MASTER_PORT", "SLURM_CONF"):
        monkeypatch.setenv(name, "2")
    drop_launch_variables()
    assert not os.environ.keys() & {"SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_ID", "RANK", "MASTER_PORT"}
    assert os.environ["SLURM_CONF"] == "2"


def test_a_command_that_srun_has_started_several_times_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(UserError, match="srun has started this command 4 times"):
        drop_launch_variables()


def test_several_nodes_need_slurm(command: Command) -> None:
    result = command("train", *SMALL, "trainer.num_nodes=2")
    assert result.status == 2
    assert result.err.startswith("error: trainer.num_nodes=2 needs SLURM")
    assert not result.folder.exists()
    sweep = command("train", "-m", *SMALL, "trainer.num_nodes=2", "seed=1,2")
    assert sweep.status == 2
    assert sweep.err == result.err


def test_a_run_leaves_mpi_alone(tmp_path: Path) -> None:
    # mpi4py where no MPI runs ends the process as soon as it is imported; Lightning would look what it says.
    package = tmp_path / "packages" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "MPI.py").write_text("import os\nos._exit(77)\n")
    overrides = [*SMALL, "logger=none", "report=false", "data.batch_size=256"]
    result = run_command(
        tmp_path, "train", *overrides, PYTHONPATH=f"{package.parent}:{os.environ.get('PYTHONPATH', '')}"
    )
    assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("given", "left"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_wait_as_the_user_says_or_not_for_long(
    given: dict[str, str], left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    limit_busy_waiting()
    assert os.environ.get("GOMP_SPINCOUNT") == left


@pytest.mark.parametrize(
    ("devices", "accelerator", "gpus", "expected"),
    [
        (3, "auto", None, 3),
        ("2", "cpu", None, 2),
        ([0, 2], "gpu", None, 2),
        ("auto", "cpu", None, 1),
        ("auto", "auto", 0, 1),
        ("auto", "gpu", 4, 4),
        ("auto", "auto", None, max(torch.cuda.device_count(), 1)),
    ],
)
def test_devices_are_counted(devices: int | str | list[int], accelerator: str, gpus: int | None, expected: int) -> None:
    assert device_count({"devices": devices, "accelerator": accelerator}, gpus) == expected
