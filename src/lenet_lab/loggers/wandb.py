"""A run in Weights & Biases."""

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lenet_lab.loggers.names import run_name

SETTINGS: dict[str, Any] = {
    "console": "off",  # what a run says is in its log
    "silent": True,
    "reinit": "create_new",  # of several runs in a process, each its own
}


class Wandb(WandbLogger):
    """Lightning's, in the run folder; a run that goes on has the same id again, so W&B joins what it left.

    Args:
        folder: the run folder; files go to `wandb` in it.
        offline: write files and ask for nothing: no account, no network.
        settings: of `wandb.Settings`, beside `SETTINGS`.
        more: of Lightning's logger and `wandb.init`.
    """

    def __init__(self, folder: str, offline: bool, settings: dict[str, Any] | None = None, **more: Any) -> None:
        begun = sorted(Path(folder, "wandb").glob("*run-*-*"))
        own = {"name": run_name(Path(folder)), "id": begun[0].name.rpartition("-")[2] if begun else None}
        super().__init__(save_dir=folder, offline=offline, settings=SETTINGS | (settings or {}), **{**own, **more})
        self._wandb_init.pop("anonymous", None)  # W&B warns of it
        if offline:
            self._wandb_init.pop("resume", None)  # likewise

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write all to the disk and end, unless Lightning says "success" when training ends: the test follows."""
        super().finalize(status)
        if status != "success" and self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "finished" else 1)
