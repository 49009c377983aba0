"""`python -m lenet_lab.anatomy`, as a user calls it."""

import json
from pathlib import Path

import pytest

from tests.conftest import FROM_DATA, Command


def test_shows_a_table_and_leaves_nothing(command: Command, tmp_path: Path) -> None:
    result = command("anatomy", COLUMNS="110")
    assert result.status == 0, result.err
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "conv1 conv2d 6x28x28 5/1/0 (32 − 5 + 2·0) / 1 + 1 = 28 456 0.7% 352,800 54.1% 5x5" in lines
    assert "fc1 linear 120 48,120 77.6% 48,000 7.4% 32x32" in lines
    assert "total 62,006 651,720" in lines
    assert result.err == ""
    assert not result.folder.exists() or list(result.folder.iterdir()) == []


@pytest.mark.slow
def test_fits_a_narrow_terminal(command: Command) -> None:
    result = command("anatomy", "gradients=true", "in_channels=1", COLUMNS="80")
    assert result.status == 0, result.err
    assert max(map(len, result.out.splitlines())) <= 80
    for shown in ("61,706", "(32 − 5 + 2·0) / 1 + 1 = 28", "NllLossBackward0", "conv1.weight"):
        assert shown in result.out


@pytest.mark.slow
def test_numbers_stay_whole_in_any_terminal(command: Command) -> None:
    result = command("anatomy", COLUMNS="40")
    assert "48,120" in result.out
    assert "651,720" in result.out


@pytest.mark.slow
def test_says_what_is_odd_about_a_network(command: Command, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from torch import nn\n\n\n"
        "def network(in_channels, image_size, num_classes):\n"
        "    return nn.Sequential(nn.Softmax(1), nn.Flatten())\n"
    )
    result = command("anatomy", "model._target_=odd.network", "~model.hidden", "~model.conv_channels", COLUMNS="80")
    assert result.status == 0, result.err
    assert "not a vector of 10 logits" in result.out
    assert "the receptive field is not known after" in result.out
    assert "N = (W" not in result.out


def test_a_network_of_the_users_own_as_json(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def flat(in_channels, image_size, num_classes):\n"
        "    size = in_channels * image_size[0] * image_size[1]\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(size, num_classes))\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "flat.yaml").write_text(f"_target_: mine.flat\n{FROM_DATA}")
    result = command(
        *("anatomy", "--config-dir=conf", "model=flat", "image_size=[4,6]", "num_classes=5"),
        *("gradients=true", "format=json", "seed=0"),
    )
    assert result.status == 0, result.err
    told = json.loads(result.out)
    assert (told["model"], told["image_shape"], told["parameters"], told["macs"]) == ("Sequential", [3, 4, 6], 365, 360)
    assert [(layer["name"], layer["operation"], layer["output"]) for layer in told["layers"]] == [
        ("0", "flatten", [72]),
        ("1", "linear", [5]),
    ]
    assert told["layers"][1]["parameters_share"] == 1.0
    assert [gradient["name"] for gradient in told["step"]["gradients"]] == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["num_classes=1"], "num_classes=1 is refused: give a whole number, at least 2"),
        (["image_size=32"], "image_size=32 is refused: give [height,width] in pixels"),
        (["format=xml"], "format=xml is refused: give table or json"),
        (["data=digits"], "data=digits is refused: this command has no group data"),
        (["-m", "in_channels=1,3"], "-m is refused: anatomy shows one thing at a time"),
        (["image_size=[8,8]"], "model (lenet_lab.models.lenet.LeNet): LeNet needs images of at least 16x16 pixels"),
    ],
)
def test_a_wrong_request_is_explained(command: Command, overrides: list[str], message: str) -> None:
    result = command("anatomy", *overrides)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
