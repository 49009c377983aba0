"""The package as others install it."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import SMALL

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_installed_wheel_trains_without_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    (packages,) = place.glob("lib/python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", packages, wheel],
        check=True,
    )
    # what the package depends on is borrowed from here; the package itself is not
    here = {path for path in sys.path if path.endswith("site-packages")}
    borrowed = "import sys; sys.path += [p for p in " + repr(sorted(here)) + "]"
    (packages / "borrowed.pth").write_text(borrowed + "\n")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [place / "bin" / "python", *words],
            cwd=outside,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    facts = "from lab_engine.config.command import config_folder; print(config_folder('lenet_lab'))\n"
    facts += "from lab_engine.base.extras import install_command; print(install_command('export'))"
    assert run("-c", facts) == f"{packages}/lenet_lab/conf\npip install 'lenet-lab[export]'\n"
    assert run("-m", "lenet_lab.train", "model=mine", status=2) == (
        "error: model=mine is refused: there is no such option\n"
        f"allowed: lenet (of {packages}/lenet_lab/conf/model; --config-dir=DIR adds those of DIR/model)\n"
    )
    script = str(packages / "bin" / "lenet-lab")
    assert "evaluate      Measure" in run(script)
    trained = run(script, "train", *SMALL, "trainer.devices=2", "hydra.run.dir=run")
    assert "overall" in trained
    assert f"{script} evaluate checkpoint=run/" in trained
    assert "overall" in run("-m", "lenet_lab.evaluate", "checkpoint=run/checkpoints/best.ckpt", "hydra.run.dir=again")
    assert {path.name for path in outside.iterdir()} == {"run", "again"}
    assert "2/2" in run(script, "train", "-m", *SMALL, "seed=1,2", "launcher.slots=1", "hydra.sweep.dir=sweep")
