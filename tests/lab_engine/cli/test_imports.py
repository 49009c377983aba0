"""What a start imports, and what it leaves for later."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import SMALL, Command, environment_in

OF_ITS_END = {"plotly"}
OF_OTHER_RUNS = {"alembic", "mlflow", "optuna", "pandas", "sklearn", "sqlalchemy", "wandb"}


def python(where: Path, code: str) -> None:
    """Run code in a process of its own, with the modules in the folder `where`."""
    variables = {**environment_in(where), "PYTHONPATH": os.pathsep.join([str(where), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], cwd=where, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_lightning_comes_undisturbed_by_the_collector(tmp_path: Path) -> None:
    code = """if True:
        import gc
        from lab_engine.base.imports import import_quickly
        collections = []
        gc.callbacks.append(lambda phase, facts: collections.append(phase))
        import_quickly("lightning.pytorch")
        assert not collections
        assert gc.isenabled()
        assert gc.get_freeze_count() > 100_000
    """
    python(tmp_path, code)


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
