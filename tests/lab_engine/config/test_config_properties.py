"""Whatever a user gives as a value, the configuration is accepted and kept, or refused in a line or two."""

import copy
import json
import sys
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import quoted
from lab_engine.config.check import check
from lab_engine.config.command import read_config
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.explain import explain
from lenet_lab.compose import compose
from lenet_lab.schema import TrainConfig
from tests.properties import examples

LONGEST = 1000  # characters of a line of a message; the values in it are cut, lists of keys are not

CONFIG = compose(
    "data=image_folder",
    "data.root=.",
    "optimizer=muon",
    "scheduler=one_cycle",
    "augment=[flip,shift,cutout,colour]",
    "test_time=flip_shift",
    "logger=[tensorboard,csv]",
)


def leaves(node: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every key, of groups too."""
    found = []
    for key, value in node.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += leaves(value, (*above, key))
    return found


KEYS = [path for path in leaves(CONFIG) if path[0] not in SET_BY_THE_PROGRAM]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 2, -1, 0.5, 1.0, 2**31, 2**32, 2**63, 2**64])
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["auto", "val/loss", "1e3", "0x10", "010", "1_000", "2020-01-01", "null", "yes", "~", "a: b", "#", "12:30"]
    )
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=2)


def refused_well(text: str) -> None:
    assert 1 <= len(text.splitlines()) <= 2
    assert all(0 < len(line) <= LONGEST for line in text.splitlines())


@examples(150)
@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), min_size=1, max_size=3))
def test_a_checked_configuration_is_the_same_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    config = copy.deepcopy(CONFIG)
    for path, value in changes:
        node = config
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None  # type: ignore[assignment]
        if isinstance(node, dict):
            node[path[-1]] = value
    try:
        checked = check(config, TrainConfig)
    except UserError as error:
        refused_well(str(error))
        return
    again = check(copy.deepcopy(checked), TrainConfig)
    assert same(again, checked)
    folder = tmp_path_factory.getbasetemp()
    try:
        text = OmegaConf.to_yaml(checked)
    except Exception as error:
        refused_well(explain(error) or "")
        return
    (folder / "config.yaml").write_text(text)
    assert same(read_config(folder), checked)


def same(one: Any, other: Any) -> bool:
    """Equal with their types; NaN, which may stand where the user's own things do, equals itself."""
    return repr(one) == repr(other)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    key = draw(st.sampled_from([".".join(path) for path in KEYS]) | WORDS)
    value = draw(VALUES)
    written = draw(st.sampled_from(["json", "quoted", "raw"]))
    text = json.dumps(value, ensure_ascii=False) if written == "json" else str(value)
    return f"{draw(st.sampled_from(['', '', '', '+', '++', '~']))}{key}={quoted(text) if written == 'quoted' else text}"


@examples(40)
@given(st.lists(overrides() | WORDS, min_size=1, max_size=2))
def test_any_words_compose_or_are_refused(words: list[str]) -> None:
    kept = sys.argv
    sys.argv = ["train", *words]
    try:
        compose("data=digits", *words)
    except Exception as error:
        text = explain(error)
        assert text is not None, words
        refused_well(text)
    finally:
        sys.argv = kept
        GlobalHydra.instance().clear()
