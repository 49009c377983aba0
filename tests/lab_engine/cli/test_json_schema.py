"""The schemas by which editors complete and check YAML files: up to date, for every file, as strict as the program."""

import json
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from omegaconf import OmegaConf
from referencing import Registry, Resource

from lab_engine.cli.json_schema import COMMON, FOLDER, PYCHARM, VSCODE, files

ROOT = Path(__file__).parents[3]
CONF = [
    path.relative_to(ROOT).as_posix()
    for folder in ("conf", "src/lab_engine/conf")
    for path in sorted((ROOT / folder).rglob("*.yaml"))
]


@cache
def made() -> dict[str, str]:
    return files("lenet_lab", ROOT)


@cache
def validator(name: str) -> Draft7Validator:
    common = Resource.from_contents(json.loads(made()[f"{FOLDER}/{COMMON}.json"]))
    return Draft7Validator(json.loads(made()[name]), registry=Registry().with_resource(f"{COMMON}.json", common))


def schemas_for(path: str) -> list[str]:
    """The schemas that VS Code uses for a file: in its patterns `**/` also stands for no folder."""
    settings = json.loads(made()[VSCODE])["yaml.schemas"]
    return [
        name.removeprefix("./")
        for name, patterns in settings.items()
        for pattern in patterns
        if re.search("/" + pattern.replace("**/", "(.+/)?").replace("*", "[^/]+") + "$", f"/{path}")
    ]


def wrong(path: str, text: str) -> list[str]:
    """The keys of a file that an editor marks."""
    content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    (name,) = schemas_for(path)
    found = [*validator(name).iter_errors(content)]
    unknown = [
        key
        for each in found
        for key in re.findall(r"'([^']+)' (?:was unexpected|does not match any of the regexes)", each.message)
    ]
    return sorted(unknown or [".".join(map(str, each.absolute_path)) for each in found])


def test_what_is_committed_is_up_to_date() -> None:
    stale = [name for name, text in made().items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    assert stale == [], "make schemas writes them anew"
    written = {f"{FOLDER}/{path.name}" for path in (ROOT / FOLDER).iterdir()}
    assert written == {name for name in made() if name.startswith(FOLDER)}


def test_all_are_schemas() -> None:
    for name in made():
        if name.startswith(FOLDER):
            Draft7Validator.check_schema(json.loads(made()[name]))


@pytest.mark.parametrize("path", CONF)
def test_every_file_passes(path: str) -> None:
    assert wrong(path, (ROOT / path).read_text()) == []


def test_pycharm_uses_the_same_schemas() -> None:
    entries = {
        re.findall(r'relativePathToSchema" value="([^"]+)"', entry)[0]: re.findall(r'"path" value="([^"]+)"', entry)
        for entry in made()[PYCHARM].split("<entry ")[1:]
    }
    for path in CONF:
        found = [
            name for name, patterns in entries.items() if any(fnmatch(f"/{path}", f"*/{each}") for each in patterns)
        ]
        assert found == schemas_for(path), path


@pytest.mark.parametrize(
    ("path", "text", "keys"),
    [
        ("conf/optimizer/mine.yaml", "_target_: torch.optim.SGD\nlr: -1", ["lr"]),
        ("conf/optimizer/mine.yaml", "lr: fast", ["lr"]),
        ("conf/model/mine.yaml", "freeze: fc", ["freeze"]),
        ("conf/task/mine.yaml", "monitor: test/loss\nmode: maximum", ["mode", "monitor"]),
        ("conf/data/mine.yaml", "_target_: lenet_lab.data.digits.Digits\nvalidation: 2", ["validation"]),
        ("conf/data/mine.yaml", "_target_: mine.Tables\nbatch_size: 0", ["batch_size"]),
        ("conf/speed/mine.yaml", "compiled: default", ["compiled"]),
        (
            "conf/augment/mine.yaml",
            "shift: {_target_: lenet_lab.data.augment.RandomShift, pixels: -2}",
            ["shift.pixels"],
        ),
        ("conf/callbacks/mine.yaml", "early_stopping: {monitor: 3}", ["early_stopping.monitor"]),
        ("conf/trainer/mine.yaml", "max_epoch: 3", ["max_epoch"]),
        ("conf/sweeper/mine.yaml", "trial: 3", ["trial"]),
        ("conf/launcher/mine.yaml", "slots: 0", ["slots"]),
        ("conf/experiment/mine.yaml", "trainer: {max_epoch: 3}", ["max_epoch"]),
        ("conf/experiment/mine.yaml", "trainer: {max_epochs: 1.5}", ["trainer.max_epochs"]),
        ("conf/experiment/mine.yaml", "speed: {compiled: default}", ["compiled"]),
        ("conf/experiment/mine.yaml", "data: {batch_size: many}\nsead: 3", ["data.batch_size", "sead"]),
        ("conf/experiment/mine.yaml", "trainor: {max_epochs: 3}", ["trainor"]),
        ("conf/experiment/mine.yaml", "defaults: [override /optimiser: sgd]", ["override /optimiser"]),
        ("conf/experiment/mine.yaml", "seed: {}", ["seed"]),
        ("conf/train.yaml", "seeds: 3", ["seeds"]),
        ("conf/train.yaml", "report: 3", ["report"]),
        ("conf/predict.yaml", "device: gpus", ["device"]),
        ("src/lab_engine/conf/sweeper/mine.yaml", "direction: up", ["direction"]),
    ],
)
def test_wrong_values_and_misspelled_keys_are_marked(path: str, text: str, keys: list[str]) -> None:
    assert wrong(path, text) == keys


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("conf/optimizer/mine.yaml", "_target_: mine.Adam\n_partial_: true\nlr: ${data.batch_size}\nwarm: {up: 3}"),
        ("conf/data/mine.yaml", "_target_: mine.Tables\nmean: trimmed\nchannels: 7\nroot: ???"),
        ("conf/data/mine.yaml", "defaults: [digits, _self_]\nbatch_size: 8"),
        ("conf/trainer/mine.yaml", "_target_: mine.Trainer\nmax_epoch: 3"),
        ("conf/loss/mine.yaml", "_target_: mine.Loss\nclass_weights: sqrt"),
        ("conf/experiment/mine.yaml", "defaults: [best, {override /model: mine}, {override /augment: [flip, mine]}]"),
        ("conf/experiment/mine.yaml", "defaults: [{/data/parts@data.train: mine}, {override hydra/launcher: joblib}]"),
        ("conf/experiment/mine.yaml", "seed: ${oc.env:SEED}\ntask: {labels: from_data}\nteacher: {_target_: mine.Net}"),
        ("conf/experiment/mine.yaml", "scheduler: null\ntrainer: {devices: [0, 2], strategy: {_target_: mine.DDP}}"),
        ("elsewhere/conf/model/mine.yaml", "_target_: mine.Net\nwidth: 3"),
    ],
)
def test_what_the_program_takes_is_not_marked(path: str, text: str) -> None:
    assert wrong(path, text) == []
