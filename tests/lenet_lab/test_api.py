"""Training and trained tasks without a command."""

from pathlib import Path

import pytest
import torch

from lab_engine.base.errors import UserError
from lenet_lab.api import compose, fit, load
from lenet_lab.data.digits import Digits
from lenet_lab.models.lenet import LeNet
from tests.conftest import Command, Result

QUICK = ("data=digits", "data.batch_size=32", "trainer.max_epochs=1", "report=false", "logger=none")


def test_a_configuration_is_fitted_where_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(*QUICK, folder=str(tmp_path / "new" / "run"))
    metrics = fit(config)
    assert {"test/accuracy", "val/loss", "train/steps"} <= metrics.keys()
    assert (tmp_path / "new" / "run" / "config.yaml").exists()
    assert "epoch 1/1" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds a run already"):
        fit(config)


def test_a_run_folder_gives_the_trained_task(digits_run: Result) -> None:
    images, labels = (getattr(Digits().load()[1], name) for name in ("images", "labels"))
    task = load(digits_run.folder)
    assert not task.training
    data = Digits(validation=0.1)
    with torch.no_grad():
        logits = task(data.prepare(torch.from_numpy(images), training=False))
    accuracy = (logits.argmax(1) == torch.from_numpy(labels)).double().mean()
    assert float(accuracy) == pytest.approx(digits_run.metrics["test/accuracy"])
    last = load(digits_run.folder / "checkpoints" / "last.ckpt")
    assert last.state_dict().keys() == task.state_dict().keys()


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best\.ckpt: there is no such file"):
        load(tmp_path)


def test_weights_that_a_network_reads_are_named_where_they_are_missing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "from lenet_lab.models.lenet import LeNet\n"
        "def network(weights, **rest):\n"
        "    made = LeNet(**rest)\n"
        "    if weights is not None:\n"
        "        made.load_state_dict(torch.load(weights, weights_only=True))\n"
        "    return made\n"
    )
    option = tmp_path / "conf" / "model" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("defaults: [lenet, _self_]\n_target_: own.network\nweights: null\n")
    torch.save(LeNet(1, (32, 32), 10).state_dict(), tmp_path / "start.pt")
    words = ("--config-dir=conf", "model=own", f"model.weights={tmp_path}/start.pt", *QUICK)
    assert command("train", *words).status == 0
    (tmp_path / "start.pt").unlink()
    missing = command("train", *words, "hydra.run.dir=other")
    assert missing.status == 2
    assert missing.err == (
        f"error: model (own.network) cannot read a file. No such file or directory: {tmp_path}/start.pt\n"
    )
    again = ("evaluate", "--config-dir=conf", "checkpoint=run/checkpoints/best.ckpt", "hydra.run.dir=again")
    asked = command(*again)
    assert "no text is taken from a file" in asked.err
    found = command(*again, "+model.weights=null")  # all weights are in the checkpoint
    assert found.status == 0, found.err
