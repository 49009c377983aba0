"""The lock files: every file by its hash, one version of each package, and all that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = ("requirements-build.lock", "requirements.lock", "requirements-dev.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read(name: str) -> dict[str, dict[str, list[str]]]:
    """By package and version, of which some have one for each Python: the hashes of its files."""
    found: dict[str, dict[str, list[str]]] = {}
    for block in (ROOT / name).read_text().replace("\\\n", "").splitlines():
        line, *hashes = re.split(r"\s+--hash=", block.strip())
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        versions = found.setdefault(canonicalize_name(requirement.name), {})
        versions[specifier.version] = sorted(hashes)
        assert len(versions) == 1 or requirement.marker is not None, line
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_has_its_hash(name: str) -> None:
    for package, versions in read(name).items():
        for hashes in versions.values():
            assert hashes, package
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), package


@pytest.mark.parametrize("name", LOCKS[:2])
def test_what_is_in_two_files_is_the_same(name: str) -> None:
    dev = read("requirements-dev.lock")
    for package, versions in read(name).items():
        if package in dev:
            assert versions == dev[package], package
        else:
            assert name == "requirements-build.lock", package


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements-build.lock", PROJECT["dependency-groups"]["build"]),
        ("requirements-build.lock", PROJECT["build-system"]["requires"]),
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", PROJECT["project"]["dependencies"]),
        ("requirements-dev.lock", PROJECT["project"]["optional-dependencies"]["dev"]),
    ],
)
def test_what_pyproject_asks_for_is_there(name: str, wanted: list[str]) -> None:
    locked = read(name)
    for requirement in map(Requirement, wanted):
        for version in locked[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version, prereleases=True), f"{requirement}: {name} has {version}"
