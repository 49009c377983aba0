"""The configuration as a notebook gets it."""

from pathlib import Path

import pytest
import yaml

from lab_engine.base.errors import UserError
from lab_engine.training.build import build_data
from lenet_lab.compose import compose
from tests.conftest import SMALL, Command


def test_gives_what_the_command_runs_with(command: Command) -> None:
    result = command("train", *SMALL, "debug=one_batch")
    assert result.status == 0, result.err
    kept = yaml.safe_load((result.folder / "config.yaml").read_text())
    assert compose(*SMALL, "debug=one_batch", folder=str(result.folder)) == kept


def test_makes_no_folder_and_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = build_data(compose("data=digits"))
    data.setup()
    assert len(data.test) == 359
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my conf", "it's", 'a"b', "a=b,c", "[x]", "a{b}", "ü $x", "a\\b"])
def test_takes_options_of_the_users_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "optimizer").mkdir(parents=True)
    (tmp_path / name / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.Adam\n_partial_: true\n")
    config = compose("data=digits", "optimizer=mine", config_dir=tmp_path / name)
    assert config["optimizer"] == {"_target_": "torch.optim.Adam", "_partial_": True}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere is not a folder"):
        compose("data=digits", config_dir=tmp_path / "nowhere")


def test_refuses_what_the_command_refuses() -> None:
    with pytest.raises(UserError, match=r"optimizer\.lr=-1 is refused: give a number above 0"):
        compose("data=digits", "optimizer.lr=-1")
    with pytest.raises(UserError, match=r"^model=lenett is refused: "):
        compose("model=lenett")


@pytest.mark.parametrize(
    ("augment", "names"),
    [
        ("none", []),
        ("shift", ["shift"]),
        ("flip_shift", ["flip", "shift"]),
        ("[cutout,flip]", ["cutout", "flip"]),
        ("[]", []),
    ],
)
def test_augmentations_are_combined_in_the_order_given(augment: str, names: list[str]) -> None:
    assert list(compose(f"augment={augment}")["augment"]) == names


def test_a_wrong_value_of_an_augmentation_is_explained() -> None:
    with pytest.raises(UserError, match=r"augment\.cutout\.side=0 is refused: give a whole number, at least 1"):
        compose("augment=[flip,cutout]", "augment.cutout.side=0")


def test_an_option_beside_an_experiment_of_another_says_what_to_remove() -> None:
    with pytest.raises(UserError, match=r"remove them with ~scheduler\.pct_start ~scheduler\.cycle_momentum$"):
        compose("experiment=fast", "scheduler=constant")
    compose("experiment=fast", "scheduler=constant", "~scheduler.pct_start", "~scheduler.cycle_momentum")
