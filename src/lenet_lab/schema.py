"""The keys of this project's own groups: types, units and allowed values.

The text of each `Field` is what a user reads when a value is refused, so it says what would be accepted.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator

from lab_engine.config import schema
from lab_engine.config.schema import ABSENT, AbsolutePath, Natural, Positive, Target, Threads, contradiction


def _absolute_images(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError
    if given == "-":
        return given
    return str(Path(os.path.expanduser(given)).absolute())  # noqa: PTH111 - Path's own refuses a name such as ~x


Images = Annotated[
    str, PlainValidator(_absolute_images), WithJsonSchema({"type": "string"})
]  # pydantic's own takes no names that are not UTF-8
Fraction = Annotated[float, Field(gt=0, lt=1)]
Level = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]
PACKAGE = __name__.partition(".")[0]
OWN, OTHER = "of this project", "of another"
SPREAD = "a number x, 0 or more (a random factor from 1 - x to 1 + x, never below 0, multiplies the"


class ImageData(schema.Data):
    """Images: an ImageDataModule of this project."""

    shuffle: bool = Field(ABSENT, description="true or false (train images in a new order each epoch)")
    eval_batch_size: Positive = Field(
        ABSENT, description="a whole number, at least 1 (images in a validation or test batch on each device)"
    )
    validation: Fraction = Field(
        ABSENT, description="a fraction above 0 and below 1 (share of each class's train images to validate on)"
    )
    split_seed: Natural = Field(ABSENT, description="a whole number, 0 or more (chooses the validation images)")
    folds: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        ABSENT, description="a whole number, at least 2, or null (number of parts for cross-validation; null: none)"
    )
    fold: Natural = Field(
        ABSENT, description="a whole number, 0 or more (the fold to validate on, from 0 to data.folds - 1)"
    )
    sampling: Literal["natural", "balanced"] = Field(
        ABSENT, description="natural or balanced (balanced: each class is drawn equally often)"
    )
    mean: float | list[float] = Field(ABSENT, description="a number, or one per channel, on the scale 0 to 1")
    std: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] = Field(
        ABSENT, description="a number above 0, or one per channel, on the scale 0 to 1"
    )
    cache: AbsolutePath = Field(ABSENT, description="a folder for the decoded images")
    mirrors: Annotated[list[str], Field(min_length=1)] = Field(
        ABSENT, description="a list of addresses of the archive, [https://…,…], tried in order"
    )
    channels: Literal[1, 3] = Field(
        ABSENT, description="1 or 3 (channels of the decoded images: 1 for grey, 3 for RGB)"
    )
    image_size: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        ABSENT, description="[height,width] in pixels, whole numbers, at least 1"
    )
    resize: Literal["stretch", "crop", "pad"] = Field(
        ABSENT, description="stretch, crop or pad (what is done to images of another size)"
    )
    on_bad_file: Literal["error", "skip"] = Field(
        ABSENT, description="error or skip (what is done about an image that cannot be decoded)"
    )
    test_fraction: Fraction = Field(
        ABSENT, description="a fraction above 0 and below 1 (share of each class for the test set)"
    )
    test_seed: Natural = Field(ABSENT, description="a whole number, 0 or more (chooses the test images)")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.fold and not self.folds:
            raise contradiction(f"data.fold={self.fold} is refused without data.folds: give how many folds there are")
        return self


def _data_tag(data: object) -> str:
    """Return the tag of the class that knows the keys of `data`; another data module may use a key differently."""
    target = data.get("_target_") if isinstance(data, dict) else getattr(data, "target", None)  # once checked
    return OWN if isinstance(target, str) and target.startswith(f"{PACKAGE}.") else OTHER


AnyData = Annotated[Annotated[ImageData, Tag(OWN)] | Annotated[schema.Data, Tag(OTHER)], Discriminator(_data_tag)]


class Optimizer(schema.Optimizer):
    """An optimizer, of which Muon has one more key."""

    vector_lr: Annotated[float, Field(gt=0)] = Field(
        ABSENT, description="a number above 0 (learning rate of biases, as a fraction of lr)"
    )


class Augment(Target):
    """A random change to training images; the user's own have other keys."""

    pixels: Natural = Field(ABSENT, description="a whole number, 0 or more (the largest shift, in pixels)")
    side: Positive = Field(ABSENT, description="a whole number, at least 1 (pixels of the hidden square's side)")
    fill: Level | Annotated[list[Level], Field(min_length=1)] = Field(
        ABSENT, description="a number from 0 to 1, or one per channel (value of the hidden square)"
    )
    brightness: Spread = Field(ABSENT, description=f"{SPREAD} brightness)")
    contrast: Spread = Field(ABSENT, description=f"{SPREAD} contrast)")
    saturation: Spread = Field(ABSENT, description=f"{SPREAD} saturation)")


class Loss(Target):
    """Cross entropy; other losses have other keys."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="a number from 0 to below 1 (share of the target that is spread over all classes)"
    )
    class_weights: Literal["auto"] | list[Annotated[float, Field(ge=0)]] | None = Field(
        None,
        description="auto, a list with a number for each class, or null (auto: images of rare classes count more; "
        "null: all count the same)",
    )


AnyAugment = Annotated[Annotated[Augment, Tag(OWN)] | Annotated[Target, Tag(OTHER)], Discriminator(_data_tag)]
AnyLoss = Annotated[Annotated[Loss, Tag(OWN)] | Annotated[Target, Tag(OTHER)], Discriminator(_data_tag)]


class FlipShiftTTA(Target):
    """Test-time augmentation; the user's own has other keys."""

    flip: bool = Field(ABSENT, description="true or false (true: the mirror image is judged, too)")
    shift: Natural = Field(
        ABSENT,
        description="a whole number, 0 or more (pixels by which the image is shifted, in four directions; 0: it is "
        "not)",
    )


TTA = Annotated[FlipShiftTTA | None, BeforeValidator(lambda value: value or None)]  # {}, of test_time=none, is null


class Parts(schema.Parts):
    """The groups that a task of this project takes, beside those that the engine knows."""

    optimizer: Optimizer = ABSENT
    loss: AnyLoss = ABSENT
    mix: Annotated[Target | None, BeforeValidator(lambda value: value or None)] = ABSENT
    metrics: dict[str, Target | None] = Field(ABSENT, description="named metrics of TorchMetrics, each with a _target_")
    test_time: TTA = ABSENT


class RunParts(Parts):
    """The same, with the data and the groups that they take."""

    data: AnyData
    augment: dict[str, AnyAugment | None] = Field(ABSENT, description="named transformations, each with a _target_")

    @model_validator(mode="after")
    def _refuse_double_weights(self) -> Self:
        balanced = getattr(self.data, "sampling", None) == "balanced"
        if balanced and getattr(self.loss, "class_weights", None) == "auto":
            raise contradiction(
                "loss.class_weights=auto cannot be used with data.sampling=balanced: rare classes would count twice"
            )
        return self


class TrainConfig(RunParts, schema.TrainConfig):
    """`python -m lenet_lab.train`."""


class EvaluateConfig(RunParts, schema.RunConfig):
    """`python -m lenet_lab.evaluate`, with task and data filled in from the checkpoint."""

    checkpoint: AbsolutePath = Field(description=schema.CHECKPOINT)


class PredictConfig(RunParts, schema.CheckpointConfig):
    """`python -m lenet_lab.predict`: the task, and the data where no images are given, come from the checkpoint."""

    data: AnyData = ABSENT
    images: Images | Annotated[list[Images], Field(min_length=1)] | None = Field(
        description="a file, a folder, a pattern such as 'photos/*.png', a list [a.png,b.png], or - (standard input)"
    )
    top_k: Positive = Field(description="a whole number, at least 1 (classes shown for each image)")
    batch_size: Positive = Field(description="a whole number, at least 1 (images that the network sees at once)")
    device: Literal["auto", "cpu", "gpu"] = Field(description="auto, cpu or gpu")
    threads: Threads | None = Field(
        description="a whole number from 1 to 1024, or null (CPU threads; null: as many as a batch can keep busy)"
    )
    pictures: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="a whole number, 0 to 1000 (images in the table and the picture, the first ones)"
    )
    explain: bool = Field(
        description="true or false (true: draw heat maps of the pixels that support the predicted class)"
    )
    method: Literal["auto", "grad_cam", "saliency"] = Field(
        description="auto, grad_cam or saliency (how the heat maps are made)"
    )

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.explain and self.images is None:
            raise contradiction("explain=true is refused without images=, whose classes it explains")
        if self.explain and not self.pictures:
            raise contradiction("explain=true is refused with pictures=0: give how many images to explain")
        return self


class ExportConfig(Parts, schema.ExportConfig):
    """`python -m lenet_lab.export`, with the task filled in from the checkpoint."""


class AnatomyConfig(schema.Config):
    """`python -m lenet_lab.anatomy`."""

    model: Target
    in_channels: Positive = Field(description="a whole number, at least 1 (channels of the images)")
    image_size: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        description="[height,width] in pixels, whole numbers, at least 1"
    )
    num_classes: Annotated[int, Field(ge=2)] = Field(description="a whole number, at least 2")
    gradients: bool = Field(description="true or false (true: run a step and show its gradients)")
    format: Literal["table", "json"] = Field(description="table or json")
    seed: Natural = Field(description="a whole number, 0 or more (of the weights and the random images)")
