"""Packages that may be missing."""

from pathlib import Path

import pytest

from lab_engine.base import extras
from lab_engine.base.errors import UserError
from lab_engine.base.extras import OF_TARGETS, install_command, need, need_all


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])


def test_names_the_extra() -> None:
    with pytest.raises(UserError) as refused:
        need("no_such_package", "explain", "format=saliency")
    assert str(refused.value) == "format=saliency needs the package no_such_package: pip install -e '.[explain]'"


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="needs the package no_such_package"):
        need("no_such_package", "explain", "it")


def test_what_is_there_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here_indeed.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    need("here_indeed", "explain", "it")


def test_names_all_that_are_missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for target, package in (("mine.A", "no_such_a"), ("mine.B", "no_such_b"), ("mine.C", "json")):
        monkeypatch.setitem(OF_TARGETS, target, (package, package[-1]))
    nodes = {name: {"_target_": f"mine.{name.upper()}"} for name in "abc"} | {"other": {"_target_": "torch.Tensor"}}
    with pytest.raises(UserError) as refused:
        need_all({**nodes, "off": None}, "logger")
    assert str(refused.value) == (
        "logger.a needs the package no_such_a, logger.b needs the package no_such_b: pip install -e '.[a,b]'"
    )


def test_the_checkout_is_named_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert install_command("export") == f"pip install -e '{Path(__file__).parents[3]}[export]'"


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ("pyvenv.cfg", "pip install 'lenet-lab[export,mlflow]'"),
        ("pipx_metadata.json", "pipx runpip lenet-lab install 'lenet-lab[export,mlflow]'"),
        ("uv-receipt.toml", "uv pip install --python PREFIX 'lenet-lab[export,mlflow]'"),
    ],
)
def test_the_command_fits_how_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, expected: str
) -> None:
    (tmp_path / left).touch()
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "lib" / "python" / "site-packages" / "lab_engine" / "x.py"))
    monkeypatch.setattr(extras, "packages_distributions", lambda: {"lab_engine": ["lenet-lab"]})
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    assert install_command("export", "mlflow") == expected.replace("PREFIX", str(tmp_path))
