"""What holds of the files as such: the engine names nothing of the lab, and what is named is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = [path for path in sorted((ROOT / "src" / "lab_engine").rglob("*")) if path.suffix in (".py", ".yaml", ".html")]
SETTINGS = ["pyproject.toml", "Makefile", ".ci/run", ".pre-commit-config.yaml", ".github/workflows/ci.yml"]
MAY_NAME_A_NETWORK = ("anatomy", "export")
"""Packages of the engine that show what a network is made of, by way of example."""


def test_finds_the_engine() -> None:
    assert len(ENGINE) > 100


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_engine_names_nothing_of_the_lab(path: Path) -> None:
    text = path.read_text()
    assert "lenet_lab" not in text
    if path.relative_to(ROOT / "src" / "lab_engine").parts[0] not in MAY_NAME_A_NETWORK:
        assert re.findall(r"(?i)lenet|cifar|accuracy|num_classes", text) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_what_a_settings_file_names_is_there(name: str) -> None:
    text = (ROOT / name).read_text()
    paths = set(re.findall(r"\b(?:src|tests|scripts|docs|conf)/[\w./-]*\w", text))
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []


@pytest.mark.parametrize("file", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_target_of_ours_is_there(file: Path) -> None:
    for target in re.findall(r"_target_: ((?:lenet_lab|lab_engine)\.[\w.]+)", file.read_text()):
        module, name = target.rsplit(".", 1)
        source = ROOT / "src" / f"{module.replace('.', '/')}.py"
        assert re.search(rf"\b{name}\b", source.read_text())
