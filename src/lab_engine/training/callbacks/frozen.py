"""Layers that are not trained."""

from lightning.pytorch import Callback, LightningModule, Trainer


class Frozen(Callback):
    """Keeps layers whose own weights are all frozen in evaluation mode: the statistics of a BatchNorm stay, too."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set their mode, after Lightning has set that of all."""
        self._set(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise in an epoch that had started before the run was interrupted."""
        self._set(pl_module)

    def _set(self, module: LightningModule) -> None:
        for layer in module.modules():
            own = list(layer.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                layer.eval()
