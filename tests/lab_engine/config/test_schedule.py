"""Schedules of the learning rate for several groups of parameters."""

from pathlib import Path

import pytest

from lab_engine.base.errors import UserError
from lab_engine.config.instantiate import build_part
from lenet_lab.models.lenet import LeNet
from tests.conftest import Command
from tests.lab_engine.training.loggers.readers import read_csv

GROUPS = {
    "_target_": "torch.optim.SGD",
    "_partial_": True,
    "lr": 0.05,
    "groups": {"fc*.weight": {"lr": 0.005}, "conv1.*": {"momentum": 0.5}},
}


def test_groups_are_chosen_by_the_names_of_parameters() -> None:
    network = LeNet(1, (32, 32), 10)
    optimizer = build_part(GROUPS, "optimizer")(network.named_parameters())
    found = {group["name"]: (group["lr"], group["momentum"], group["param_names"]) for group in optimizer.param_groups}
    assert found == {
        "fc*.weight": (0.005, 0, ["fc1.weight", "fc2.weight", "fc3.weight"]),
        "conv1.*": (0.05, 0.5, ["conv1.weight", "conv1.bias"]),
        "others": (0.05, 0, ["conv2.weight", "conv2.bias", "fc1.bias", "fc2.bias", "fc3.bias"]),
    }


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    wrong = {**GROUPS, "groups": {"fc9.*": {"lr": 1.0}}}
    with pytest.raises(UserError, match=r"^optimizer\.groups has fc9\.\*, which fits no parameter\.\nparameters: "):
        build_part(wrong, "optimizer")(LeNet(1, (32, 32), 10).named_parameters())


def test_a_group_has_keys_of_the_optimizer_only(caplog: pytest.LogCaptureFixture) -> None:
    parameters = list(LeNet(1, (32, 32), 10).named_parameters())
    wrong = {**GROUPS, "groups": {"fc*": {"learning_rate": 0.1}}}
    with pytest.raises(UserError, match=r"^optimizer\.groups has the key learning_rate for fc\*, which SGD does not"):
        build_part(wrong, "optimizer")(parameters)
    build_part({**GROUPS, "groups": {"*": {"lr": 0.1}}}, "optimizer")(parameters)
    (told,) = caplog.messages
    assert told.startswith("optimizer.lr is not used: ")


def test_one_cycle_keeps_the_ratio_of_the_groups_and_each_is_logged(command: Command, tmp_path: Path) -> None:
    option = tmp_path / "conf" / "optimizer" / "two.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("defaults:\n  - sgd\n  - _self_\ngroups:\n  fc3.*: {lr: 0.005}\n")
    words = ("experiment=digits", "trainer.max_epochs=2", "trainer.log_every_n_steps=10", "logger=csv")
    result = command("train", "--config-dir=conf", *words, "optimizer=two", "optimizer.lr=0.05")
    assert result.status == 0, result.err
    rates = [
        (float(row["train/learning_rate/fc3.*"]), float(row["train/learning_rate/others"]))
        for row in read_csv(result.folder)
        if "train/learning_rate/others" in row
    ]
    assert len(rates) == 8
    assert [slow for slow, _ in rates] == pytest.approx([fast / 10 for _, fast in rates])
    assert max(fast for _, fast in rates) > 0.04
