"""Heat maps of what in an image speaks for a class, by captum, for any network."""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lenet_lab.views.trained_network import TrainedNetwork


class Explainer:
    """Computes heat maps of a network.

    Grad-CAM (Selvaraju et al., 2017): the outputs of the last convolution, weighted by the gradient of the class; as
    coarse as that layer. Saliency (Simonyan et al., 2014): the gradient at each pixel; fine and noisy.

    Args:
        trained: on the device that is to compute.
        method: "grad_cam", "saliency", or "auto": grad_cam where the network has a convolution for it.

    Raises:
        UserError: grad_cam is asked for, and there is no such convolution.

    Attributes:
        description: the method and its layer, in a few words.
    """

    def __init__(self, trained: TrainedNetwork, method: str) -> None:
        self._trained = trained
        self._device = trained.normalize.scale.device
        blank = torch.zeros(1, *trained.format.shape, dtype=torch.uint8, device=self._device)
        found = None if method == "saliency" else _last_convolution(trained.network, trained.normalize(blank))
        if method == "grad_cam" and found is None:
            raise UserError(
                "method=grad_cam is refused: this network has no convolution (torch.nn.Conv2d) that leaves more than\n"
                "one pixel. Give method=saliency."
            )
        self._layer = found[1] if found else None
        self.description = f"Grad-CAM of {found[0]}" if found else "saliency"

    def __call__(self, images: UInt8[np.ndarray, "B C H W"], classes: list[int]) -> Float32[np.ndarray, "B H W"]:
        """Return a heat map for each image and its class, values 0 to 1; the largest of an image is 1, or all are 0."""
        from captum.attr import LayerAttribution, LayerGradCam, Saliency  # an optional package

        inputs = self._trained.normalize(torch.tensor(images, device=self._device)).requires_grad_()
        targets = torch.tensor(classes, device=self._device)
        if self._layer is None:
            heat = Saliency(self._trained.network).attribute(inputs, target=targets).amax(1, keepdim=True)
        else:
            coarse = LayerGradCam(self._trained.network, self._layer).attribute(
                inputs, target=targets, relu_attributions=True
            )
            heat = LayerAttribution.interpolate(coarse, tuple(inputs.shape[2:]), "bilinear")
        heat = heat.detach().squeeze(1)
        largest = heat.amax((1, 2), keepdim=True)
        scaled: npt.NDArray[np.float32] = (heat / largest.where(largest > 0, 1)).cpu().numpy()
        return scaled


def _last_convolution(network: nn.Module, inputs: Tensor) -> tuple[str, nn.Module] | None:
    """Return name and module of the convolution that is called last and leaves a map, not one value per channel."""
    called: list[tuple[str, nn.Module]] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        if output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            called.append((name, module))

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: note(name, module, output))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        network(inputs)
    for hook in hooks:
        hook.remove()
    return called[-1] if called else None
