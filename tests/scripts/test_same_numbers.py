"""`scripts/same_numbers`: what it compares and what it refuses. Trainings are compared by hand."""

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

SCRIPT = Path(__file__).parents[2] / "scripts" / "same_numbers"
WEIGHTS = {"network.fc.weight": torch.arange(6.0).reshape(2, 3), "network.fc.bias": torch.tensor([0.0, torch.nan])}
METRICS = {"test/accuracy": 0.1, "test/count": 10, "val/loss": 1 / 3, "train/seconds": 1.5}
CURVES = "epoch,step,val/loss,train/samples_per_second\n1,40,0.5,100.0\n2,80,0.25,100.0\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = spec_from_loader("same_numbers", SourceFileLoader("same_numbers", str(SCRIPT)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would lie beside the script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = cached
    return module


def write_run(
    folder: Path, weights: dict[str, Tensor] = WEIGHTS, metrics: dict[str, Any] = METRICS, curves: str = CURVES
) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": WEIGHTS}, folder / "checkpoints" / "best.ckpt")
    torch.save({"state_dict": weights}, folder / "checkpoints" / "last.ckpt")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "curves.csv").write_text(curves)
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_run(tmp_path / "old")


def test_times_are_no_difference(script: ModuleType, old: Path, tmp_path: Path) -> None:
    curves = CURVES.replace("100.0", "99.5")
    new = write_run(tmp_path / "new", metrics={**METRICS, "train/seconds": 1.25}, curves=curves)
    assert script.compare_runs(old, new) == ([], [])


def test_the_last_bit_of_a_weight_is_a_difference(script: ModuleType, old: Path, tmp_path: Path) -> None:
    changed = {name: tensor.clone() for name, tensor in WEIGHTS.items()}
    changed["network.fc.weight"].view(torch.int32)[1, 2] ^= 1
    changed["network.fc.bias"][0] = -0.0
    differences, _ = script.compare_runs(old, write_run(tmp_path / "new", weights=changed))
    assert differences == [
        "last.ckpt: network.fc.weight differs by up to 4.77e-07",
        "last.ckpt: network.fc.bias differs by up to 0",
    ]


def test_tensors_under_other_names_are_compared_by_order(script: ModuleType, old: Path, tmp_path: Path) -> None:
    renamed = {name.replace("network", "net"): tensor.clone() for name, tensor in WEIGHTS.items()}
    differences, remarks = script.compare_runs(old, write_run(tmp_path / "new", weights=renamed))
    assert differences == []
    (remark,) = remarks
    assert "network.fc.weight is now net.fc.weight" in remark
    renamed["net.fc.weight"][0, 0] = 1
    differences, _ = script.compare_runs(old, write_run(tmp_path / "changed", weights=renamed))
    assert differences == ["last.ckpt: network.fc.weight differs by up to 1"]
    fewer = {"net.fc.weight": renamed["net.fc.weight"]}
    differences, _ = script.compare_runs(old, write_run(tmp_path / "fewer", weights=fewer))
    assert "last.ckpt: network.fc.bias is only in OLD" in differences


def test_a_cell_of_the_curves_is_named_by_column_and_row(script: ModuleType, old: Path, tmp_path: Path) -> None:
    new = write_run(tmp_path / "new", curves=CURVES.replace("0.25", "0.250001") + "3,120,0.2,100.0\n")
    assert script.compare_runs(old, new)[0] == [
        "curves.csv: val/loss in row 2 is 0.25 in OLD, 0.250001 in NEW",
        *(f"curves.csv: {column} in row 3 is only in NEW" for column in ("epoch", "step", "val/loss")),
    ]


def test_columns_that_only_new_has_are_no_difference_and_columns_that_are_gone_are(
    script: ModuleType, old: Path, tmp_path: Path
) -> None:
    more = "epoch,step,val/loss,val/mae,train/samples_per_second,val/r2\n1,40,0.5,7,100.0,8\n2,80,0.25,7,100.0,8\n"
    found = script.compare_runs(old, write_run(tmp_path / "more", curves=more))
    assert found == ([], ["curves.csv: more columns: val/mae, val/r2"])
    differences, remarks = script.compare_runs(old, write_run(tmp_path / "other", curves=more.replace("0.25", "0.3")))
    assert differences == ["curves.csv: val/loss in row 2 is 0.25 in OLD, 0.3 in NEW"]
    assert remarks == ["curves.csv: more columns: val/mae, val/r2"]
    gone = write_run(tmp_path / "gone", curves="epoch,step,val/mae\n1,40,7\n2,80,7\n")
    assert script.compare_runs(old, gone) == (
        ["curves.csv: column val/loss is only in OLD", "curves.csv: column train/samples_per_second is only in OLD"],
        ["curves.csv: more columns: val/mae"],
    )


def test_numbers_that_were_rounded_to_32_bits_are_no_difference(script: ModuleType, old: Path, tmp_path: Path) -> None:
    exact, rounded = CURVES.replace("0.25", "0.1"), CURVES.replace("0.25", "0.10000000149011612")
    first, second = (write_run(tmp_path / name, curves=text) for name, text in (("a", rounded), ("b", exact)))
    assert script.compare_runs(first, second) == ([], ["curves.csv: more digits: 1 values, of which OLD has 32 bits"])
    assert script.compare_runs(second, first)[0] == [
        "curves.csv: val/loss in row 2 is 0.1 in OLD, 0.10000000149011612 in NEW"
    ]


def test_metrics_that_changed_or_are_missing(script: ModuleType, old: Path, tmp_path: Path) -> None:
    metrics = {"test/accuracy": 0.1, "val/loss": 1 / 3 + 1e-16, "train/seconds": 1.5}
    assert script.compare_runs(old, write_run(tmp_path / "new", metrics=metrics))[0] == [
        "metrics.json: test/count is only in OLD",
        "metrics.json: val/loss is 0.3333333333333333 in OLD, 0.3333333333333334 in NEW",
    ]


def test_files_that_are_missing(script: ModuleType, old: Path, tmp_path: Path) -> None:
    new = write_run(tmp_path / "new")
    (new / "checkpoints" / "best.ckpt").unlink()
    (old / "curves.csv").unlink()
    (new / "curves.csv").unlink()
    assert script.compare_runs(old, new)[0] == ["best.ckpt: is only in OLD", "curves.csv: is in neither"]


def test_only_the_first_differences_of_a_file_are_shown(script: ModuleType) -> None:
    differences = [*(f"last.ckpt: {number}" for number in range(5)), "metrics.json: a"]
    assert list(script.shorten(differences)) == [*differences[:3], "last.ckpt: and 2 more", "metrics.json: a"]


def test_the_interval_is_that_of_students_t_for_paired_times(script: ModuleType) -> None:
    ratio, low, high = script.ratio_with_interval([1.0, 10.0, 1.0], [1.0, 20.0, 4.0])  # ratios 1, 2, 4
    assert ratio == pytest.approx(2)
    assert high / ratio == pytest.approx(ratio / low) == pytest.approx(2 ** (4.302653 / 3**0.5), rel=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage:"),
        (["HEAD", "no_such_folder"], "NEW=no_such_folder has no src/lenet_lab"),
        (["no_such_commit", "."], "OLD=no_such_commit is not a commit"),
        (["HEAD", ".", "--rounds", "1"], "--rounds 1 gives no interval"),
        (["HEAD", ".", "--images", "docs"], "--images docs has neither"),
    ],
)
def test_wrong_usage_ends_with_status_2(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, *words], cwd=SCRIPT.parents[1], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
