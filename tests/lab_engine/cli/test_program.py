"""`lenet-lab COMMAND`: the same as `python -m lenet_lab.COMMAND`, and what it says."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from lab_engine.config.command import config_folder
from tests.conftest import SMALL, environment_in
from tests.forked import run
from tests.lab_engine.cli.test_command import HEAVY, imported

SCRIPT = "import sys; sys.argv[0] = '/nowhere/lenet-lab'; from lenet_lab.__main__ import main; main()"
"""What pip writes as the script."""


def lenet_lab(where: Path, *words: str, options: tuple[str, ...] = ()) -> "CompletedProcess[Any]":
    return run([sys.executable, *options, "-c", SCRIPT, *words], cwd=where, env=environment_in(where))


def test_the_commands_are_listed_without_heavy_imports(tmp_path: Path) -> None:
    listed = lenet_lab(tmp_path, options=("-X", "importtime"))
    lines = listed.stdout.splitlines()
    assert listed.returncode == 0
    assert "  train         Train a network, choose its checkpoint on validation data, test it once." in lines
    assert [line.split()[0] for line in lines[lines.index("Commands:") + 1 : lines.index("Examples:") - 1]] == [
        *("train", "evaluate", "predict", "export", "anatomy", "sweep_report")
    ]
    assert "  lenet-lab train experiment=digits" in lines
    assert max(map(len, lines)) <= 100
    assert not imported(listed.stderr) & {*HEAVY, "pydantic"}
    assert lenet_lab(tmp_path, "--help").stdout == listed.stdout
    as_module = run([sys.executable, "-m", "lenet_lab"], cwd=tmp_path).stdout
    assert "  python -m lenet_lab.train experiment=digits" in as_module.splitlines()


def test_help_names_the_command_as_it_was_called(tmp_path: Path) -> None:
    text = lenet_lab(tmp_path, "train", "--help").stdout
    assert "  lenet-lab train devices=2 " in text
    assert "python -m" not in text
    assert lenet_lab(tmp_path, "--help", "train").stdout == text
    assert "lenet-lab sweep_report SWEEP_FOLDER" in lenet_lab(tmp_path, "sweep-report", "-h").stdout


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trian", "trian is no command; did you mean train?\ncommands: train, evaluate, predict, "),
        ("data=digits", "data=digits is refused here: name a command first, as in /nowhere/lenet-lab train data"),
        ("-m", "-m is refused here: name a command first, as in /nowhere/lenet-lab train -m"),
    ],
)
def test_what_is_no_command_is_refused(tmp_path: Path, word: str, said: str) -> None:
    refused = lenet_lab(tmp_path, word, options=("-X", "importtime"))
    assert refused.returncode == 2
    told = [line for line in refused.stderr.splitlines() if not line.startswith("import time:")]
    assert "\n".join(told).startswith(f"error: {said}")
    assert not imported(refused.stderr) & set(HEAVY)


def test_the_version_is_told(tmp_path: Path) -> None:
    assert lenet_lab(tmp_path, "--version").stdout.startswith("lenet-lab 0.")


def own_options(where: Path) -> None:
    (where / "own" / "optimizer").mkdir(parents=True)
    shutil.copy(config_folder("lenet_lab") / "optimizer" / "sgd.yaml", where / "own" / "optimizer" / "mine.yaml")


def test_the_command_to_evaluate_can_be_pasted(tmp_path: Path, image_tree: Path) -> None:
    own_options(tmp_path)
    (tmp_path / "my images").symlink_to(image_tree)
    words = ("data=image_folder", "data.root='my images'", "trainer.max_epochs=1", "data.batch_size=32")
    done = lenet_lab(
        tmp_path, "train", *words, "--config-dir=own", "optimizer=mine", "trainer.devices=2", "hydra.run.dir=run"
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("evaluate ")]
    _, script, *pasted = shlex.split(line)
    assert script == "/nowhere/lenet-lab"
    assert pasted == [
        *("evaluate", "--config-dir=own", "checkpoint=run/checkpoints/best.ckpt", "data.root=my images"),
    ]
    again = lenet_lab(tmp_path, *pasted, "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr
    kept = json.loads((tmp_path / "run" / "environment.json").read_text())["command"]
    assert shlex.split(kept)[:3] == ["lenet-lab", "train", "--config-dir=own"]


def test_a_job_of_a_sweep_tells_its_command_likewise(tmp_path: Path) -> None:
    own_options(tmp_path)
    done = lenet_lab(
        *(tmp_path, "train", "-m", *SMALL, "--config-dir=own", "optimizer=mine", "optimizer.lr=0.1"),
        "hydra.sweep.dir=sweep",
    )
    assert done.returncode == 0, done.stdout
    kept = json.loads((tmp_path / "sweep" / "0" / "environment.json").read_text())["command"]
    assert shlex.split(kept)[:3] == ["lenet-lab", "train", f"--config-dir={tmp_path / 'own'}"]
    assert "lenet-lab evaluate --config-dir=own checkpoint=" in (tmp_path / "sweep" / "0" / "train.log").read_text()
    assert f"lenet-lab train --config-dir={tmp_path / 'own'}" in (tmp_path / "sweep" / "0" / "report.html").read_text()


def test_modules_in_the_current_folder_are_found_last(tmp_path: Path) -> None:
    """A script's path does not hold the folder; first in the path, a file there could hide a package."""
    (tmp_path / "mine.py").write_text("from torch import nn\n\n\ndef network():\n    return nn.Linear(32, 10)\n")
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "flat.yaml").write_text("_target_: mine.network\n")
    place = f"print(sys.path.index({str(tmp_path)!r}) + 2 - len(sys.path))"
    code = f"import sys; del sys.path[0]\ntry:\n    {SCRIPT}\nfinally:\n    {place}"
    words = ("anatomy", "--config-dir=own", "model=flat")
    shown = run([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment_in(tmp_path))
    assert "330" in shown.stdout, shown.stderr
    assert shown.stdout.splitlines()[-1] == "0"  # before the folder of --config-dir alone
