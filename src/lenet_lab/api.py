"""Training from a notebook or a script: `compose` a configuration, `fit` it, `load` the trained task."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from lab_engine.artifacts.checkpoint import read_metadata
from lab_engine.config.config_dir import KEY, import_from
from lab_engine.runs.running import run_in_folder
from lab_engine.training.from_checkpoint import build_trained, fill_in
from lenet_lab.compose import compose, options
from lenet_lab.schema import EvaluateConfig
from lenet_lab.train import COMMAND

__all__ = ["compose", "fit", "load"]

Config = dict[str, Any]


def fit(config: Config) -> dict[str, Any]:
    """Train as `python -m lenet_lab.train` does; with one device, in this process.

    Args:
        config: what `compose` returns; `config["folder"]` is created, and must not hold a run.

    Returns:
        What is written to `metrics.json`.

    Raises:
        UserError: the run is refused; one or two lines say what to fix.
    """
    Path(config["folder"]).mkdir(parents=True, exist_ok=True)
    return run_in_folder(COMMAND, config)


def load(run: str | Path, config_dir: str | Path | None = None) -> LightningModule:
    """Rebuild the task of a run with the weights of its best checkpoint, on the CPU and in evaluation mode.

    Args:
        run: the run folder, or a checkpoint.
        config_dir: a folder with options of your own, as `--config-dir`.

    Raises:
        UserError: `run` is no checkpoint, or names an option that is neither in `conf/` nor in `config_dir`.
    """
    path = Path(run).expanduser().absolute()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    config: Config = {"choices": {}}
    with options(config_dir) as words:
        fill_in(config, path, EvaluateConfig, ("task",), words)
    import_from({KEY: None if config_dir is None else str(Path(config_dir).absolute())})
    return build_trained(config, read_metadata(path).facts, path).eval()
