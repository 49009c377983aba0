"""Training in a notebook or a script: `compose` a configuration, `fit` it, `load` the task, `predict` classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import LightningModule

from lab_engine.artifacts.checkpoint import read_metadata
from lab_engine.config.config_dir import KEY, import_from
from lab_engine.config.in_process import options
from lab_engine.prediction.samples import choose_device
from lab_engine.runs.running import run_in_folder
from lab_engine.training import terminal
from lab_engine.training.from_checkpoint import build_trained, fill_in, load_offered
from lenet_lab.compose import compose
from lenet_lab.schema import EvaluateConfig
from lenet_lab.train import COMMAND
from lenet_lab.views.predict_images import Classified, classify_arrays
from lenet_lab.views.trained_network import TrainedNetwork

__all__ = ["compose", "fit", "load", "predict"]

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
    try:
        return run_in_folder(COMMAND, config)
    finally:
        terminal.close_log()


def load(run: str | Path, config_dir: str | Path | None = None) -> LightningModule:
    """Rebuild the task of a run with the weights of its best checkpoint, on the CPU and in evaluation mode.

    It takes what the network was trained on. Of an `ImageDataModule` these are normalized images, float (B, C, H, W):
    pixels from 0 to 1 would give wrong outputs without an error. `predict` normalizes them itself.

    Args:
        run: the run folder, or a checkpoint.
        config_dir: a folder with options of your own, as `--config-dir`.

    Raises:
        UserError: `run` is no checkpoint, or names an option that is neither in `conf/` nor in `config_dir`.
    """
    config, path = _recorded(run, config_dir)
    return build_trained(config, read_metadata(path).facts, path).eval()


def predict(
    run: str | Path,
    images: npt.NDArray[np.uint8] | Sequence[npt.NDArray[np.uint8]],
    config_dir: str | Path | None = None,
    device: str = "auto",
) -> Classified:
    """Predict the classes of images as `python -m lenet_lab.predict` does: resized and normalized as in training.

    Each call loads the run again, so give it all images at once.

    Args:
        run: the run folder, or a checkpoint.
        images: uint8 (N, H, W, C), 0 to 255, with C = 1 (grey), 3 (RGB) or 4 (RGBA); one image, (H, W, C); or a list of
            images, each of its own size.
        config_dir: as for `load`.
        device: cpu, gpu, or auto: a GPU if there is one.

    Raises:
        UserError: as `load`; the task does not classify images, an image has another dtype or shape, or there is no
            such device.
    """
    config, path = _recorded(run, config_dir)
    trained: TrainedNetwork = load_offered(config, path, "predictor", TrainedNetwork, "predict")
    trained.to(choose_device(device))
    return classify_arrays(trained, images)


def _recorded(run: str | Path, config_dir: str | Path | None) -> tuple[Config, Path]:
    """Return the configuration of a run's task, and the path of its checkpoint."""
    path = Path(run).expanduser().absolute()
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    config: Config = {"choices": {}}
    with options(COMMAND, config_dir) as words:
        fill_in(config, path, EvaluateConfig, ("task",), words)
    import_from({KEY: None if config_dir is None else str(Path(config_dir).absolute())})
    return config, path
