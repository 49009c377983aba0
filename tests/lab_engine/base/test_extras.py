"""Packages that may be missing."""

from pathlib import Path

import pytest

from lab_engine.base.errors import UserError
from lab_engine.base.extras import OF_TARGETS, need, need_all


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
