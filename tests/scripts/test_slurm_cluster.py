"""The cluster that one machine plays by itself; what it is good for, `tests/lab_engine/sweeps/test_slurm.py` shows."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab_engine.sweeps.conftest import wait_until
from tests.processes import command_lines_with

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_cluster.py"

needs_slurm = pytest.mark.skipif(
    shutil.which("slurmctld") is None or shutil.which("munged") is None or os.geteuid() != 0,
    reason="needs root and Debian's packages slurm-wlm and munge",
)


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for the names of sockets."""
    return tmp_path_factory.mktemp("s")


def call(*words: str | Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *words]
    return subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=100)


def end_of_all(text: str) -> None:
    """Wait for the end of the processes whose command lines have this; what is killed takes a moment."""
    wait_until(lambda: command_lines_with(text) == [])


@needs_slurm
def test_clusters_beside_each_other_do_not_meet(short: Path) -> None:
    one, other = short / "one", short / "other"
    started = call("start", one, "--nodes=2", "--cpus=3")
    assert started.stdout == f"export SLURM_CONF={one}/slurm.conf\n", started.stderr
    ran = call("run", other, "sh", "-c", "sinfo --noheader --format='%P %D %c' --sort=P; exit 3")
    assert ran.stdout.splitlines() == ["main* 1 2", "urgent 1 2"]
    assert ran.returncode == 3
    end_of_all(str(other))
    shown = subprocess.run(
        ["sinfo", "--noheader", "--partition=main", "--format=%D %c %t"],
        env={**os.environ, "SLURM_CONF": f"{one}/slurm.conf"},
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "2 3 idle\n"
    again = call("start", one)
    assert again.returncode == 2
    assert "a cluster runs there already" in again.stderr
    assert call("stop", one).returncode == 0
    end_of_all(str(one))


@needs_slurm
def test_jobs_end_with_their_cluster(short: Path) -> None:
    script = f"srun touch {short}/begun; srun sleep 1000"
    wait = f"sbatch --output=/dev/null --wrap '{script}'; until [ -e {short}/begun ]; do sleep 0.1; done"
    assert call("run", short / "cluster", "sh", "-c", wait).returncode == 0
    end_of_all(str(short))
    end_of_all("sleep 1000")


@needs_slurm
def test_a_folder_with_other_files_is_left_alone(short: Path) -> None:
    (short / "mine").touch()
    refused = call("start", short)
    assert refused.returncode == 2
    assert refused.stderr == f"error: {short}: holds other files. Choose an empty FOLDER, or a new one.\n"
    assert (short / "mine").exists()


def test_what_is_missing_is_named_with_its_packages(tmp_path: Path) -> None:
    refused = call("start", tmp_path / "cluster", path=str(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.endswith("not installed. On Debian: apt-get install slurm-wlm munge\n")
    assert not (tmp_path / "cluster").exists()


@needs_slurm
def test_a_path_that_leaves_no_room_for_sockets_is_refused(tmp_path: Path) -> None:
    refused = call("start", tmp_path / ("long" * 20))
    assert refused.returncode == 2
    assert "longer than 70 characters" in refused.stderr
