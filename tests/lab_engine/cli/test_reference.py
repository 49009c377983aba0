"""Rows about groups and keys, from the YAML files and the schema."""

import subprocess
import sys
from pathlib import Path

from lab_engine.cli.reference import Key, folders_of, groups_of, keys_of, keys_of_command, options_of, read_option

FOLDERS = folders_of("lenet_lab")


def key(group: str, name: str) -> Key:
    (found,) = [each for each in keys_of(group, "lenet_lab") if each.name == name]
    return found


def test_the_groups_are_those_of_the_project_and_of_the_engine() -> None:
    assert {"data", "optimizer", "experiment", "launcher", "sweeper/sampler"} <= set(groups_of(FOLDERS))


def test_a_key_has_the_values_of_all_options_and_what_is_allowed() -> None:
    found = key("optimizer", "lr")
    assert found.defaults == {"adamw": "0.001", "muon": "0.02", "sgd": "0.001"}
    assert (found.allowed, found.meaning) == ("a number above 0", "learning rate")


def test_an_option_has_the_keys_of_those_that_it_starts_from() -> None:
    assert key("data", "batch_size").defaults == {"cifar10": "4", "datasets": "32", "digits": "4", "image_folder": "4"}
    assert key("augment", "shift.pixels").defaults == {"shift": "2", "flip_shift": "2"}


def test_an_option_that_sets_several_groups_counts_for_its_own() -> None:
    assert key("speed", "compile").defaults == {"auto": "null", "exact": "null", "gpu": "reduce-overhead"}
    (gpu,) = [option for option in options_of("speed", FOLDERS) if option.name == "gpu"]
    assert gpu.everywhere
    assert gpu.values["trainer.precision"] == "bf16-mixed"


def test_a_key_that_no_option_has_is_listed_too() -> None:
    assert key("model", "freeze").defaults == {}


def test_a_recipe_says_what_it_chooses() -> None:
    (fast,) = [option for option in options_of("experiment", FOLDERS) if option.name == "fast"]
    assert fast.chosen == {"optimizer": "muon", "scheduler": "one_cycle", "test_time": "flip_shift", "speed": "auto"}
    assert fast.comment.startswith("Purpose   the tutorial's accuracy, and more, in seconds.\nCommand   python")


def test_a_command_has_keys_of_its_own() -> None:
    keys = {each.name: each for each in keys_of_command("train", "lenet_lab")}
    assert {"seed", "threads", "report"} <= keys.keys()
    assert keys.keys().isdisjoint({"data", "folder", "logger", "hydra"})
    assert keys["seed"].defaults == {"train": "42"}


def test_comments_stand_behind_a_key_below_it_or_above_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "# @package _here_\n# What it is,\n# in two lines.\n_target_: mine.Thing\n"
        "a: '# no comment'  # first\n                   # and second\n"
        "# above\nb: [1, 2]\nc:\n  - x\n  - y\n"
        "d:  # an object\n  _target_: mine.Part\n  e: {f: 1}  # deep\ng:  # on the next line\n  {h: 1}\ni: 1\n"
    )
    option = read_option(file)
    assert option.comment == "What it is,\nin two lines."
    assert option.target == "mine.Thing"
    assert option.values == {
        "a": "'# no comment'",
        "b": "[1, 2]",
        "c": "[x, y]",
        "d": "mine.Part",
        "d.e": "{f: 1}",
        "g": "{h: 1}",
        "i": "1",
    }
    assert option.comments == {
        "a": "first and second",
        "b": "above",
        "d": "an object",
        "d.e": "deep",
        "g": "on the next line",
    }
    assert option.objects == {"d"}


def test_no_large_package_is_imported() -> None:
    code = "import sys\nfrom lab_engine.cli.reference import keys_of\nkeys_of('data', 'lenet_lab')\n"
    subprocess.run([sys.executable, "-c", f"{code}assert 'torch' not in sys.modules"], check=True)
