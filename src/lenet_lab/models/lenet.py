"""LeNet-5 as the PyTorch tutorials draw it: two convolutions, two poolings, three linear layers."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

KERNEL = 5  # pixels, no padding: each convolution takes 4 off height and width
POOL = 2


class LeNet(nn.Module):
    """62,006 parameters for 3x32x32 images and 10 classes, 61,706 for 1x32x32.

    After Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to document recognition"
    (1998), with max pooling, ReLU and full connections.

    Args:
        in_channels: C of the images.
        image_size: (height, width) in pixels, each 16 or more.
        num_classes: length of the output.
        conv_channels: outputs of the two convolutions.
        hidden: outputs of the two hidden linear layers.

    Raises:
        ValueError: nothing is left of the image after the second pooling, or a layer would have no outputs.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        conv_channels: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
    ) -> None:
        super().__init__()
        for name, sizes in (("conv_channels", conv_channels), ("hidden", hidden)):
            if len(sizes) != 2 or any(type(size) is not int or size < 1 for size in sizes):
                raise ValueError(f"{name}={sizes} is refused: give two whole numbers, at least 1")
        first, second = conv_channels
        wide, narrow = hidden
        height, width = (((side - KERNEL + 1) // POOL - KERNEL + 1) // POOL for side in image_size)  # 32 -> 5
        if height < 1 or width < 1:
            raise ValueError(f"LeNet needs images of at least 16x16 pixels, not {image_size[0]}x{image_size[1]}")
        self.conv1 = nn.Conv2d(in_channels, first, KERNEL)
        self.conv2 = nn.Conv2d(first, second, KERNEL)
        self.fc1 = nn.Linear(second * height * width, wide)
        self.fc2 = nn.Linear(wide, narrow)
        self.fc3 = nn.Linear(narrow, num_classes)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """Return the logits of normalized images; the shapes noted are those of 3x32x32 images."""
        # ReLU after pooling gives the same values and gradients, bit for bit, and has a quarter of the work.
        x = F.relu(F.max_pool2d(self.conv1(x), POOL))  # (B, 6, 14, 14)
        x = F.relu(F.max_pool2d(self.conv2(x), POOL))  # (B, 16, 5, 5)
        x = x.flatten(1)  # (B, 400)
        x = F.relu(self.fc1(x))  # (B, 120)
        x = F.relu(self.fc2(x))  # (B, 84)
        logits: Tensor = self.fc3(x)  # (B, 10)
        return logits
