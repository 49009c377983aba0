"""What cannot be made is explained with the reason."""

from pathlib import Path
from typing import Any

import pytest

from lab_engine.base.errors import UserError
from lab_engine.config.instantiate import build, build_part


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("parts.whole.Missing", "there is no Missing in parts.whole"),
        ("parts.nowhere.Network", "there is no nowhere in parts"),
        ("parts.lacks.Network", "No module named 'not_installed'"),
        ("parts.broken.Network", "SyntaxError: "),
        ("parts.fails.Network", "NameError: name 'undefined' is not defined"),
        ("parts.whole.network", "the argument is wrong"),
        ("parts.whole.silent", "ValueError: "),
    ],
)
def test_the_reason_is_told_in_a_line(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    for name, code in {
        "whole": "def network():\n    raise ValueError('the argument is wrong')\ndef silent():\n    raise ValueError\n",
        "lacks": "import not_installed\n",
        "broken": "def network(:\n",
        "fails": "undefined\n",
    }.items():
        (tmp_path / "parts" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError) as refused:
        build({"_target_": target}, "model")
    assert str(refused.value).startswith(f"model ({target}): {reason}")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"train": {"_target_": "not_mine.Numbers"}},
            "data.train (not_mine.Numbers): there is no module not_mine on Python's path\nCall the command in",
        ),
        (
            {"train": {"all": [{"_target_": "builtins.complex", "imaginary": 1}]}},
            "data.train.all[0] (builtins.complex): ",
        ),
    ],
)
def test_the_part_that_fails_is_named(part: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        build({"_target_": "builtins.dict", **part}, "data")
    assert str(refused.value).startswith(message)


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(UserError, match=r"^model \(builtins.dict\) makes a dict: give a torch.nn.Module\.$"):
        build_part({"_target_": "builtins.dict", "a": 1}, "model")


def test_an_argument_that_a_function_in_c_does_not_take_is_named() -> None:
    """Its other arguments are not known, so none is suggested."""
    with pytest.raises(UserError, match=r"^model\.sise is refused: torch\.zeros has no such argument$"):
        build({"_target_": "torch.zeros", "size": [2], "sise": 1}, "model")
