"""`--help GROUP` and `--help KEY`."""

from pathlib import Path

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
    assert "\noptimizer.momentum\n    a number from 0 to below 1 (share of " in shown.out
    assert "\n    default: 0.95 with muon; 0.9 with sgd\n" in shown.out
    assert "_target_" not in shown.out
    assert not imported(shown.err) & set(HEAVY)


@pytest.mark.parametrize("topic", ["optimizer.lr", "lr"])
def test_a_key_shows_what_it_allows(topic: str) -> None:
    assert about(topic).splitlines()[:2] == ["optimizer.lr", "    a number above 0 (learning rate)"]


def test_keys_come_with_what_their_file_says() -> None:
    assert about("seed").splitlines()[0] == "seed"
    assert " ".join(about("model.hidden").split()).endswith("the two hidden linear layers) default: [120, 84]")
    assert "default: 4 with cifar10, digits, image_folder; 32 with datasets" in about("data.batch_size")
    assert " ".join(about("data.root").split()).endswith("with cifar10; must be given with image_folder")
    assert "default: auto with auto; false with exact; true with gpu" in about("speed.data_on_device")
    assert "lowest" not in about("callbacks.checkpoint.mode")
    assert "min, max, or null (whether " in about("callbacks.checkpoint.mode")


def test_options_of_the_user_are_shown_too(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "small.yaml").write_text("# A small teacher.\n_target_: a.B\nwidth: 3  # of its layers\n")
    folders = [train.COMMAND.conf, CONF, tmp_path]
    assert "  small  A small teacher." in group_help(train.COMMAND, "teacher", folders)
    assert "(of its layers)\n    default: 3" in group_help(train.COMMAND, "teacher.width", folders)


def test_a_group_within_a_group_is_shown_too() -> None:
    shown = about("sweeper/sampler")
    assert shown.startswith("sweeper/sampler=OPTION chooses one of these; sweeper.sampler.KEY=VALUE changes a\nkey:\n")
    assert "running trials. (the default)\n" in shown
    assert "\nsweeper.sampler.n_startup_trials\n    a whole number (trials that are drawn" in shown  # of two classes
    assert about("sweeper/pruner.n_startup_trials").startswith("sweeper.pruner.n_startup_trials\n")


@pytest.mark.parametrize("word", ["resume", "from", "trust"])
def test_a_word_about_a_recorded_run_is_explained(word: str) -> None:
    first, *others = about(word).splitlines()
    assert first.startswith(f"{word}=")
    assert max(map(len, others)) <= 80
    with pytest.raises(UserError):
        group_help(evaluate.COMMAND, word, [evaluate.COMMAND.conf, CONF])


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
