from pathlib import Path

import pytest
import torch
from torch import nn

from lab_engine.base.errors import UserError
from lab_engine.training.pretrained import freeze, load_pretrained
from lenet_lab.api import compose, fit, load


def network(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, outputs))


@pytest.mark.parametrize("prefix", ["", "network.", "module.model."])
def test_loads_what_fits_and_says_what_does_not(prefix: str, tmp_path: Path) -> None:
    source, target = network(7), network(3)
    before = target[2].weight.clone()  # type: ignore[index]
    weights = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    said = load_pretrained(target, str(tmp_path / "w.pth"))
    assert said == "7 of 9 tensors from w.pth, all but 2.weight, 2.bias"
    assert torch.equal(target[0].weight, source[0].weight)  # type: ignore[index]
    assert torch.equal(target[2].weight, before)  # type: ignore[index]


def test_what_fits_nothing_or_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    for name, message in (
        ("other.pth", "has no weight that fits"),
        ("text.pth", "is no file of weights"),
        ("missing.pth", "No such file"),
        ("list.pth", "holds a list, not weights by their names"),
    ):
        with pytest.raises(UserError, match=message):
            load_pretrained(network(), str(tmp_path / name))


def test_freezes_by_patterns_and_leaves_something() -> None:
    made = network()
    freeze(made, ["*", "!2.*"])
    assert {name for name, each in made.named_parameters() if each.requires_grad} == {"2.weight", "2.bias"}
    with pytest.raises(UserError, match="fits no parameter"):
        freeze(network(), ["layer9.*"])
    with pytest.raises(UserError, match="leaves nothing to train"):
        freeze(network(), ["*"])
    with pytest.raises(UserError, match="freezes nothing"):
        freeze(network(), ["!2.*"])


def test_a_run_starts_from_a_file_that_nothing_needs_later(tmp_path: Path) -> None:
    small = ("data=digits", "data.batch_size=64", "trainer.max_epochs=1", "threads=1", "report=false")
    fit(compose(*small, folder=str(tmp_path / "first")))
    (tmp_path / "first" / "checkpoints" / "best.ckpt").rename(tmp_path / "start.ckpt")
    words = (*small, f"+model.init_from={tmp_path}/start.ckpt", "+model.freeze=['conv*']")
    fit(compose(*words, folder=str(tmp_path / "second")))
    start = torch.load(tmp_path / "start.ckpt", weights_only=True)["state_dict"]
    (tmp_path / "start.ckpt").unlink()
    weights = load(tmp_path / "second").state_dict()
    assert torch.equal(weights["network.conv1.weight"], start["network.conv1.weight"])  # frozen
    assert not torch.equal(weights["network.fc3.weight"], start["network.fc3.weight"])
