"""What a start imports, and what it leaves for later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SMALL, Command, environment_in

OF_ITS_END = {"jinja2", "lenet_lab.report", "plotly"}
OF_OTHER_RUNS = {"alembic", "mlflow", "optuna", "pandas", "scipy.signal", "sklearn", "sqlalchemy", "wandb"}


def python(where: Path, code: str) -> str:
    """Run code in a process of its own, with the modules in the folder `where`."""
    variables = {**environment_in(where), "PYTHONPATH": os.pathsep.join([str(where), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], cwd=where, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lightning_comes_without_scipy_and_undisturbed_by_the_collector(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    code = """if True:
        import gc, sys
        from lenet_lab.imports import import_quickly
        collections = []
        gc.callbacks.append(lambda phase, facts: collections.append(phase))
        import_quickly("lightning.pytorch")
        assert not collections
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000
        assert "scipy.signal" not in sys.modules
        assert "scipy.stats" not in sys.modules

        import scipy.signal, torch, torchmetrics.functional.audio
        print(scipy.signal.convolve([1, 2], [1, 1]).tolist())
        signals = torch.eye(2)[None]
        better = torchmetrics.functional.audio.scale_invariant_signal_noise_ratio
        pit = torchmetrics.functional.audio.permutation_invariant_training
        print(pit(signals + 0.1, signals.flip(1), better)[1].tolist())  # by SciPy's solver
    """
    assert python(tmp_path, code).splitlines() == ["[1, 3, 2]", "[[1, 0]]"]


def test_a_package_that_uses_scipy_as_it_is_imported_gets_it(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    # TorchMetrics imports this one where it is installed
    (tmp_path / "pystoi.py").write_text(
        "import importlib.util\nfound = importlib.util.find_spec('scipy.signal')\n"
        "import scipy.signal\nfrom scipy.signal import convolve as stoi\n"
    )
    code = """if True:
        import sys
        from lenet_lab.imports import import_quickly
        import_quickly("lightning.pytorch")
        assert "scipy.signal" in sys.modules
        import pystoi
        print(pystoi.found.name, pystoi.stoi([1, 2], [1, 1]).tolist(), pystoi.scipy.signal.convolve is pystoi.stoi)
    """
    assert python(tmp_path, code) == "scipy.signal [1, 3, 2] True\n"


def test_the_first_step_waits_for_nothing_that_comes_later(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import os\nfrom lightning.pytorch import Callback\n\n"
        "class End(Callback):\n    def on_train_batch_start(self, *rest): os._exit(0)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    own = "+callbacks.end._target_=own.End"
    result = command("train", *SMALL, own, options=("-X", "importtime"), PYTHONPATH=path)
    modules = {line.rsplit("|", 1)[1].strip() for line in result.err.splitlines() if line.startswith("import time:")}
    assert result.status == 0
    assert {"torch", "lightning.pytorch", "torch.utils.tensorboard"} <= modules
    assert not modules & (OF_ITS_END | OF_OTHER_RUNS)
