"""Packages that may be missing."""

from pathlib import Path

import pytest

from lenet_lab.errors import UserError
from lenet_lab.extras import need


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
