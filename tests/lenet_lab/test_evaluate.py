"""`python -m lenet_lab.evaluate`: the same numbers from the file alone, and nothing run that a file names."""

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import forked
from tests.conftest import ROUNDING, Command, Result, environment_in, run_command


def measured(result: Result) -> dict[str, Any]:
    return {key: value for key, value in result.metrics.items() if key.startswith("test/")}


def test_gives_the_numbers_of_the_run_from_the_file_alone(digits_run: Result, command: Command, tmp_path: Path) -> None:
    shutil.copy(digits_run.folder / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    result = command("evaluate", "checkpoint=alone.ckpt")
    assert result.status == 0, result.err
    assert measured(result) == measured(digits_run)
    assert result.metrics == measured(result)
    assert "overall" in result.out
    assert sorted(path.name for path in result.folder.iterdir()) == ["config.yaml", "evaluate.log", "metrics.json"]


@pytest.fixture(scope="module")
def folder_run(image_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on an image folder, with a network that differs from the default, stopped before it is perfect."""
    result = run_command(
        tmp_path_factory.mktemp("folder"),
        "train",
        "data=image_folder",
        f"data.root={image_tree}",
        "data.image_size=[24,20]",
        "model.hidden=[30,20]",
        "optimizer.lr=0.002",
        "logger=none",
    )
    assert result.status == 0, result.err
    return result


@pytest.mark.slow
def test_knows_network_and_data_of_the_run(folder_run: Result, command: Command, tmp_path: Path) -> None:
    command_told = next(line for line in folder_run.out.splitlines() if line.startswith("evaluate  ")).split()
    checkpoint, root = command_told[-2:]
    result = command("evaluate", checkpoint.replace("run/", f"{folder_run.folder}/"), root)
    assert result.status == 0, result.err
    assert measured(result) == measured(folder_run)
    assert measured(result)["test/count"] == 50
    assert "${" not in (result.folder / "config.yaml").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "run"]  # no store anywhere else


def test_asks_for_the_folder_of_images(folder_run: Result, command: Command, image_tree: Path) -> None:
    """A checkpoint is data: it names no folder that is read."""
    result = command("evaluate", f"checkpoint={folder_run.folder}/checkpoints/best.ckpt")
    assert (result.status, len(result.err.splitlines())) == (2, 2)
    assert f"To use it, add data.root={image_tree}." in result.err


@pytest.mark.slow
def test_images_may_have_moved(folder_run: Result, command: Command, image_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(image_tree, tmp_path / "moved")
    result = command("evaluate", f"checkpoint={folder_run.folder}/checkpoints/best.ckpt", "data.root=moved")
    assert result.status == 0, result.err
    assert measured(result) == measured(folder_run)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3])
def test_several_devices_measure_the_same(folder_run: Result, command: Command, image_tree: Path, devices: int) -> None:
    """50 test images: 25 each, or 17, 17 and 16."""
    words = (f"checkpoint={folder_run.folder}/checkpoints/best.ckpt", f"data.root={image_tree}")
    result = command("evaluate", *words, f"trainer.devices={devices}")
    assert result.status == 0, result.err
    alone, shared = measured(folder_run), measured(result)
    assert shared.pop("test/loss") == pytest.approx(alone.pop("test/loss"), rel=ROUNDING)
    assert shared == alone
    assert result.out.count("lenet_lab evaluate") == 1
    assert sorted(path.name for path in result.folder.iterdir()) == ["config.yaml", "evaluate.log", "metrics.json"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint=nowhere.ckpt"], "nowhere.ckpt: there is no such file"),
        ([], "checkpoint is missing: give checkpoint=last (the newest run), or checkpoint=RUN_FOLDER"),
        (["checkpoint=text.ckpt"], "text.ckpt is not a checkpoint of this program"),
        (["checkpoint=BEST", "data=image_folder", "data.root=TREE"], "Its classes: 0, 1, 2, 3"),
        (["checkpoint=BEST", "model=lenet", "model.hidden=[3,4]"], "does not fit this network"),
        (
            ["checkpoint=BEST", "data.root=TREE"],
            "data.root is refused: lenet_lab.data.digits.Digits has no such argument",
        ),
    ],
)
def test_a_wrong_request_is_explained(
    command: Command, tmp_path: Path, digits_run: Result, image_tree: Path, overrides: list[str], message: str
) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    names = {"BEST": f"{digits_run.folder}/checkpoints/best.ckpt", "TREE": str(image_tree)}
    for name, value in names.items():
        overrides = [word.replace(name, value) for word in overrides]
    result = command("evaluate", *overrides)
    assert result.status == 2, result.err
    assert message in result.err
    assert len(result.err.splitlines()) <= 2


class Exploit:
    """Unpickled without care, this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def poisoned(digits_run: Result, how: str, proof: Path) -> Any:
    checkpoint = torch.load(digits_run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    run = checkpoint["run"]
    if how == "pickle":
        checkpoint["extra"] = Exploit(proof)
    elif how == "target":
        run["values"]["model"]["_target_"] = "os.system"
    elif how == "nested target":
        run["values"]["data"]["mean"] = [{"_target_": "pathlib.Path.touch", "_args_": [str(proof)]}]
    elif how == "target in a tuple":
        run["values"]["model"]["hidden"] = ({"_target_": "pathlib.Path.touch", "_args_": [str(proof)]},)
    elif how == "tensor":
        run["values"]["data"]["mean"] = torch.zeros(3)
    elif how == "not a choice":
        checkpoint["run"] = {"model": ["x"]}
    elif how == "interpolation":
        run["values"]["data"]["mean"] = "${oc.env:HOME}"
    elif how == "option":
        run["choices"]["model"] = "../../../etc/x"
    elif how == "override":
        run["choices"]["data"] = "digits,hydra.run.dir=/tmp"
    elif how == "unknown option":
        run["choices"]["model"] = "no_such_model"
    elif how == "word":
        run["words"] = ["hydra.run.dir=/tmp/evil"]
    elif how == "unknown key":
        run["values"]["model"]["device"] = "cuda"
    return checkpoint


@pytest.mark.parametrize(
    "how",
    [
        "pickle",
        "target",
        "nested target",
        "target in a tuple",
        "tensor",
        "not a choice",
        "interpolation",
        "option",
        "override",
        "word",
        "unknown option",
        "unknown key",
    ],
)
def test_nothing_that_a_file_names_is_run(command: Command, tmp_path: Path, digits_run: Result, how: str) -> None:
    proof = tmp_path / "proof"
    torch.save(poisoned(digits_run, how, proof), tmp_path / "bad.ckpt")
    result = command("evaluate", "checkpoint=bad.ckpt")
    assert result.status == 2, result.err
    assert len(result.err.splitlines()) <= 2
    assert not proof.exists()
    assert "Traceback" not in result.err


def test_a_file_does_not_choose_where_to_download_from_or_to(
    command: Command, tmp_path: Path, digits_run: Result
) -> None:
    checkpoint = torch.load(digits_run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    evil = {"mirrors": ["http://127.0.0.1:9/evil"], "cache": "evil", "root": f"{tmp_path}/evil"}
    run = checkpoint["run"]
    run["choices"]["data"], run["values"]["data"], run["words"] = "cifar10", evil, ["data=cifar10"]
    torch.save(checkpoint, tmp_path / "bad.ckpt")
    # no network here: what it tries is what the user's own file says
    command("evaluate", "--cfg", "job", "checkpoint=bad.ckpt")
    code = (
        "from lenet_lab import evaluating; import hydra\n"
        "from hydra import initialize_config_dir\nfrom lab_engine.config.hydra_version import BASE\n"
        "from lab_engine.config.command_line import OF_THE_SWEEP\nfrom lab_engine.config.command import config_folder\n"
        "from omegaconf import OmegaConf\n"
        "with initialize_config_dir(str(config_folder('lenet_lab')), **BASE):\n"
        "    config = hydra.compose('evaluate', overrides=['checkpoint=bad.ckpt', 'folder=x'])\n"
        "    config = OmegaConf.to_container(OmegaConf.masked_copy(config, list(config.keys() - {*OF_THE_SWEEP})))\n"
        "    config['choices'] = {}\n"
        "    print(evaluating.check(config)['data'])"
    )
    done = forked.run([sys.executable, "-c", code], cwd=tmp_path, env=environment_in(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "evil" not in done.stdout
    assert "https://www.cs.toronto.edu/" in done.stdout


def test_a_bare_pickle_is_refused(command: Command, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(Exploit(proof)))
    result = command("evaluate", "checkpoint=bad.ckpt")
    assert result.status == 2
    assert not proof.exists()
