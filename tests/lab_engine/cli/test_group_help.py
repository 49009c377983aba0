"""`--help GROUP` and `--help KEY`."""

import pytest

from lab_engine import CONF
from lab_engine.base.errors import UserError
from lab_engine.cli.group_help import group_help
from lenet_lab import anatomy, evaluate, sweep_report, train
from tests.conftest import Command
from tests.lab_engine.cli.test_command import HEAVY, imported


def about(topic: str) -> str:
    return group_help(train.COMMAND, topic, [train.COMMAND.conf, CONF])


def test_a_group_shows_its_options_and_keys(command: Command) -> None:
    shown = command("train", "--help", "optimizer", options=("-X", "importtime"))
    assert shown.status == 0
    assert "  sgd    Stochastic gradient descent with momentum. (the default)\n" in shown.out
    assert (
        "optimizer.momentum\n    a number from 0 to below 1\n    default: 0.95 with muon; 0.9 with sgd\n" in shown.out
    )
    assert "_target_" not in shown.out
    assert not imported(shown.err) & set(HEAVY)


@pytest.mark.parametrize("topic", ["optimizer.lr", "lr"])
def test_a_key_shows_what_it_allows(topic: str) -> None:
    assert about(topic).splitlines()[:2] == ["optimizer.lr", "    a number above 0 (learning rate)"]


def test_keys_come_with_what_their_file_says() -> None:
    assert about("seed").splitlines()[0] == "seed"
    assert "outputs of the two hidden linear layers\n    default: [120, 84]" in about("model.hidden")
    assert "default: 4 with cifar10, digits, image_folder; 32 with datasets" in about("data.batch_size")
    assert " ".join(about("data.root").split()).endswith("with cifar10; must be given with image_folder")
    assert "default: auto with auto; false with exact; true with gpu" in about("speed.data_on_device")
    assert "lowest" not in about("callbacks.checkpoint.mode")
    assert "min or max (whether lower or higher is better)" in about("callbacks.checkpoint.mode")


def test_a_recipe_has_no_keys_of_its_own() -> None:
    assert "  fast " in about("experiment")
    assert "experiment.optimizer" not in about("experiment")


@pytest.mark.parametrize("command", [train.COMMAND, evaluate.COMMAND, anatomy.COMMAND, sweep_report.COMMAND])
def test_all_that_help_lists_fits_a_narrow_terminal(command: train.Command) -> None:
    folders = [command.conf, CONF]
    with pytest.raises(UserError) as refused:
        group_help(command, "nothing", folders)
    groups = [group for group in str(refused.value).rpartition(": ")[2].split(", ") if group]
    assert groups or command is sweep_report.COMMAND
    for group in groups:
        text = group_help(command, group, folders)
        assert max(map(len, text.splitlines())) <= 80, text


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("optimiser", "--help optimiser is refused: train has no such group or key; did you mean optimizer?\ngroups: "),
        (
            "optimizer.lrr",
            "--help optimizer.lrr is refused: no option of optimizer has this key; did you mean lr?\nkeys: ",
        ),
    ],
)
def test_what_does_not_exist_is_refused(topic: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        about(topic)
    assert str(refused.value).startswith(said)
