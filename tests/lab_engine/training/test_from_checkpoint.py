"""What a checkpoint may say of an option's keys, and what only the user may."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import shell_word
from lab_engine.config.command import config_folder
from lab_engine.training.from_checkpoint import LEFT_OPEN, refuse_texts
from lenet_lab.schema import EvaluateConfig
from tests.conftest import Command, Result

PATH = Path("/there/best.ckpt")
OWN: dict[str, Any] = {
    "weights": None,
    "kind": "small",
    "depth": 2,
    "sizes": [1, 2],
    "names": ["a", "b"],
    "root": "???",
    "asked": "???",
    "resize": "stretch",
    "monitor": "val/loss",
    "on_bad_file": "error",
    "parts": {"name": "x", "rate": 0.5},
}


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        *(("model", "depth", 3), ("model", "depth", None), ("model", "depth", True), ("model", "sizes", [3, 4.5])),
        *(("model", "weights", 1), ("model", "kind", "small"), ("model", "kind", None), ("model", "names", ["a"])),
        *(("model", "parts", {"name": "x", "rate": 1}), ("model", "parts", {}), ("model", "names", [])),
        *(("scheduler", "monitor", "val/accuracy/a b"), ("scheduler", "monitor", "train/loss")),
        *(("data", "resize", "crop"), ("data", "on_bad_file", "skip")),
    ],
)
def test_plain_values_and_choices_of_the_schema_are_taken(group: str, key: str, value: Any) -> None:
    refuse_texts({key: value}, OWN, group, PATH, EvaluateConfig)


@pytest.mark.parametrize(
    ("group", "key", "value", "cure"),
    [
        (
            *("model", "weights", "hf-hub:them/net"),
            "To use it, add +model.weights=hf-hub:them/net; if not, +model.weights=null as it is here.",
        ),
        (
            *("model", "kind", "large one"),
            "To use it, add '+model.kind=large one'; if not, +model.kind=small as it is here.",
        ),
        ("model", "asked", "/x", "To use it, add +model.asked=/x."),
        *(("scheduler", "monitor", text, None) for text in ("val/../x", "/val/loss", "http://val/loss", "loss")),
        (
            "data",
            "resize",
            "evil",
            "To use it, add +data.resize=evil; if not, +data.resize=stretch as it is here.",
        ),
        ("model", "depth", "2", "; if not, +model.depth=2 as it is here."),
        ("model", "names", ["b", "a"], None),
        ("model", "sizes", [1, "x"], None),
        ("model", "parts", {"name": "y", "rate": 0.5}, None),
        ("model", "parts", {"name": "x", "rate": "rate"}, None),
        ("model", "parts", {"name": "x", "trust_remote_code": True}, None),
        ("model", "resize", "crop", None),
        ("data", "root", "/images", "To use it, add data.root=/images."),
        ("model", "root", "/images", "To use it, add +model.root=/images."),
        ("test_time", "kind", "\x1b[2J\n\n" + "x" * 10_000, None),
    ],
)
def test_other_texts_are_refused_with_the_word_to_add(group: str, key: str, value: Any, cure: str | None) -> None:
    with pytest.raises(UserError) as error:
        refuse_texts({key: value}, OWN, group, PATH, EvaluateConfig)
    text = str(error.value)
    assert text.startswith(f"checkpoint={PATH} was trained with {group}.{key}=")
    assert ". For safety, no folder and no text is taken from a checkpoint.\nTo use it, add " in text
    assert text.endswith(cure or ".")
    assert len(text.splitlines()) == 2
    assert all(letter.isprintable() for letter in text.replace("\n", ""))
    assert len(text) < 1000


@pytest.mark.parametrize(
    "value",
    [
        *("a", "a b", "null", "1", "1e3", "true", "a,b", "[a]", "${oc.env:HOME}", "it's", 'a"b', "", "$HOME", "a\\"),
        *("hf-hub:a/b", "sweep(1)", "~/x", [1, "a", ["1", None]], {"a": "b c", "d": [True, 0.5]}, None, 3, -0.1),
    ],
)
def test_hydra_reads_what_is_typed(value: Any) -> None:
    (word,) = shlex.split(shell_word("+model.x", value))
    found = OverridesParser.create().parse_override(word)
    read = found.value()
    if isinstance(value, str):
        read = read.replace("\\${", "${")  # escaped for OmegaConf, which reads it next
    assert (found.key_or_group, read) == ("model.x", value)


def test_null_leaves_open_what_the_file_of_the_command_says() -> None:
    option = yaml.safe_load((config_folder("lenet_lab") / "data/evaluate/from_checkpoint.yaml").read_text())
    assert option == dict.fromkeys(LEFT_OPEN)


def test_what_is_given_on_the_command_line_wins(digits_run: Result, command: Command, tmp_path: Path) -> None:
    checkpoint = torch.load(digits_run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    run = checkpoint["run"]
    run["choices"]["model"] = "mine"
    run["values"]["model"]["weights"] = "hf-hub:them/net"
    torch.save(checkpoint, tmp_path / "bad.ckpt")
    own = tmp_path / "conf" / "model" / "mine.yaml"
    own.parent.mkdir(parents=True)
    keys = ("in_channels", "image_size", "num_classes")
    own.write_text(
        "_target_: my_lab.Net\nweights: null\nconv_channels: [6, 16]\nhidden: [120, 84]\n"
        + "".join(f"{key}: from_data\n" for key in keys)
    )
    (tmp_path / "my_lab.py").write_text(
        "from lenet_lab.models.lenet import LeNet\n"
        "class Net(LeNet):\n"
        "    def __init__(self, weights, **rest):\n"
        "        super().__init__(**rest)\n"
        "        print('weights are', weights)\n"
    )
    words = ("evaluate", "checkpoint=bad.ckpt", "--config-dir=conf")
    refused = command(*words)
    assert refused.status == 2
    assert refused.err == (
        f"error: checkpoint={tmp_path}/bad.ckpt was trained with model.weights=hf-hub:them/net. For safety, no "
        "folder and no text is taken from a checkpoint.\n"
        "To use it, add +model.weights=hf-hub:them/net; if not, +model.weights=null as it is here.\n"
    )
    for given, said in (("null", "None"), ("hf-hub:them/net", "hf-hub:them/net")):
        result = command(*words, f"+model.weights={given}", f"hydra.run.dir={said.partition(':')[0]}")
        assert result.status == 0, result.err
        assert f"weights are {said}\n" in result.out
