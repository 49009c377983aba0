"""Every configuration file, found by name: it composes, passes the schema, and what it names exists."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object

from lab_engine import CONF
from lab_engine.config.command import config_folder
from lenet_lab.compose import compose
from lenet_lab.data.datamodule import ImageDataModule

FOLDERS = (config_folder("lenet_lab"), CONF)
FILES = {
    path.relative_to(folder).with_suffix(""): path for folder in FOLDERS for path in sorted(folder.rglob("*.yaml"))
}
OPTIONS = [file for file in FILES if len(file.parts) == 2 and file.parts[0] != "hydra"]

DATASET = "{_target_: torch.utils.data.TensorDataset}"
NEEDED = {
    "image_folder": ["data.root=."],
    "datasets": [f"data.train={DATASET}", f"data.test={DATASET}"],
    "multilabel": ["data=datasets", f"data.train={DATASET}", f"data.test={DATASET}"],
}
"""Words without which an option does not compose."""


def targets(node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [name for part in node.values() for name in targets(part)]


def test_finds_the_files() -> None:
    assert {"data", "model", "optimizer", "scheduler", "augment", "trainer", "callbacks", "logger"} <= {
        file.parts[0] for file in OPTIONS
    }


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_is_allowed(option: Path) -> None:
    group, name = option.parts
    extra = NEEDED.get(name, [])
    config = compose(f"{group}={name}", *extra)  # it checks, too
    for target in targets(config):
        assert callable(get_object(target))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_file_says_what_it_is_for(file: Path) -> None:
    lines = FILES[file].read_text().splitlines()
    comments = [line for line in lines[:3] if line.startswith("# ") and "@package" not in line]
    assert comments


def test_the_default_is_the_tutorial() -> None:
    default, tutorial = compose(), compose("experiment=tutorial")
    assert (default.pop("words"), tutorial.pop("words")) == ([], ["experiment=tutorial"])
    assert default == tutorial


def test_the_settings_of_images_are_those_of_the_module_that_takes_them() -> None:
    defaults = inspect.signature(ImageDataModule).parameters
    given = compose("data=digits", "speed=exact")["data"]
    assert {name: given.get(name, defaults[name].default) for name in defaults} == {
        name: parameter.default for name, parameter in defaults.items()
    }
