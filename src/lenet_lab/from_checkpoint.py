"""A trained network again, from its checkpoint."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import hydra
import torch
from hydra.errors import InstantiationException, MissingConfigException
from jaxtyping import Float, UInt8
from omegaconf import OmegaConf
from pydantic import BaseModel
from torch import Tensor, nn

from lenet_lab.checkpoint import NOT_KEPT, About, Choice, load_weights, read_about
from lenet_lab.data.decode import RESIZE, ImageFormat
from lenet_lab.data.normalize import Normalize
from lenet_lab.errors import UserError
from lenet_lab.instantiate import build_network, build_test_time
from lenet_lab.quoting import typed
from lenet_lab.schema import Data, Target, Views
from lenet_lab.test_time import TestTime, once
from lenet_lab.wording import shown

OPTION = "evaluate/from_checkpoint"
LEFT_OPEN = ("root", "cache", "eval_batch_size")
"""Keys that are null in `conf/data/evaluate/from_checkpoint.yaml`: as the checkpoint and its option say."""
SCHEMAS: dict[str, type[BaseModel]] = {"data": Data, "model": Target, "test_time": Views}
FOLDER = ("data", "root")
"""Group and key of the folder that images are read from."""


def checkpoint_path(config: dict[str, Any]) -> Path:
    """Give `config["checkpoint"]`, which nobody has checked yet, as a path.

    Raises:
        UserError: it is none.
    """
    given = config.get("checkpoint")
    if not isinstance(given, str) or not given:
        raise UserError(f"checkpoint={shown(given)} is refused: give the path of a .ckpt file")
    return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - Path's own refuses a name such as ~x


def fill_in(config: dict[str, Any], command: str, groups: Sequence[str], path: Path) -> None:
    """Fill in what a checkpoint says of these groups of a command's configuration: "model", "data", "test_time".

    The checkpoint names options of `conf/model` and `conf/data` and gives values to their keys. The options' own
    files, on this machine, say which classes these are: nothing in a checkpoint can name code to run. An option
    given on the command line stands as it is.

    Raises:
        UserError: it is no checkpoint, or its options are not those of this machine.
    """
    about = read_about(path)
    for group in groups:
        if config["choices"].get(group) == OPTION:
            choice: Choice = getattr(about, group)
            config[group] = _values(config[group], command, group, choice, path)
            config["choices"][group] = choice.option


def _values(given: dict[str, Any], command: str, group: str, choice: Choice, path: Path) -> dict[str, Any]:
    try:
        composed = hydra.compose(command, overrides=[f"{group}={choice.option}"])
    except MissingConfigException as error:
        raise UserError(
            f"checkpoint={path} was made with {group}={choice.option}, which is not among the options here.\n"
            f"Name the folder of its file with --config-dir=DIR, or choose another with {group}=OPTION."
        ) from error
    own: dict[str, Any] = OmegaConf.to_container(composed[group], resolve=True)  # type: ignore[assignment]
    kept = {key: value for key, value in choice.values.items() if key not in NOT_KEPT}
    if own.get("root", "???") != "???":  # where this machine keeps its downloads is not for the file to say
        kept.pop("root", None)
    if unknown := kept.keys() - own.keys():
        raise UserError(
            f"checkpoint={path} has a setting {group}.{min(unknown)}, which {group}={choice.option} here has not.\n"
            f"It was made with another version of that option: choose one with {group}=OPTION."
        )
    chosen = {key: value for key, value in given.items() if value is not None or key not in LEFT_OPEN}
    refuse_texts({key: value for key, value in kept.items() if key not in chosen}, own, group, path)
    return {**own, **kept, **chosen}


def refuse_texts(recorded: Mapping[str, Any], own: Mapping[str, Any], group: str, path: Path) -> None:
    """Refuse texts of a checkpoint that the option here has not: one may be an address, a file, or the name of code.

    Numbers, booleans and null are taken from a file, and so is a text where the schema lists what it may be, and the
    folder of images where the option leaves it open.

    Args:
        recorded: values of the option's keys in the checkpoint.
        own: all keys of the option on this machine, with their values.
        group: of the option.
        path: of the checkpoint, for the message.

    Raises:
        UserError: there is one; what to add to have it, or not to, is told.
    """
    for key, value in recorded.items():
        if {*_texts(value)} <= {*_texts(own[key])} or _is_choice(group, key, value) or (group, key) == FOLDER:
            continue
        cure = f"If you want it, add {shown(typed(f'+{group}.{key}', value))}"
        if own[key] != "???":
            cure += f"; if not, {shown(typed(f'+{group}.{key}', own[key]))} as it is here"
        raise UserError(
            f"checkpoint={path} was trained with {group}.{key}={shown(value)}, and no text is taken from a file.\n"
            f"{cure}."
        )


def _texts(value: Any, place: tuple[str | int | None, ...] = ()) -> Iterator[tuple[tuple[str | int | None, ...], str]]:
    """Return all texts in plain data, keys among them, each with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield (*place, key, None), key
            yield from _texts(part, (*place, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(part, (*place, number))


def _is_choice(group: str, key: str, value: Any) -> bool:
    field = SCHEMAS[group].model_fields.get(key)
    return field is not None and get_origin(field.annotation) is Literal and value in get_args(field.annotation)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network in evaluation mode, and what it must be fed.

    Attributes:
        network: float (B, C, H, W), normalized, to logits (B, classes).
        normalize: uint8 (B, C, H, W) to what `network` takes.
        classes: names, in the order of the logits.
        format: of the images.
        test_time: see `lenet_lab.test_time`.
    """

    network: nn.Module
    normalize: Normalize
    classes: tuple[str, ...]
    format: ImageFormat
    test_time: TestTime = once

    def __call__(self, images: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """Give the logits of stored images on the network's device."""
        return self.test_time(self.network, self.normalize(images))


def build_trained(model: dict[str, Any], path: Path) -> nn.Module:
    """Make the network that `model` configures, with the weights of a checkpoint; on the CPU.

    Raises:
        UserError: the weights do not fit it. This is found out before the network takes memory, of which a file of a
            few bytes could ask for any amount.
    """
    about = read_about(path)
    arguments = model, about.image_shape, len(about.classes)
    try:
        with suppress(NotImplementedError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that nothing is copied: on "meta" there is nothing
            with torch.device("meta"):
                outline = build_network(*arguments)
            load_weights(outline, path)
        network = build_network(*arguments)
    except (RuntimeError, MemoryError, OverflowError, InstantiationException) as error:
        cause = error.__cause__ or error
        reason = next(iter(str(cause).splitlines()), type(cause).__name__)
        raise UserError(f"checkpoint={path}: the network that it asks for cannot be made: {reason}") from error
    load_weights(network, path)
    return network


def load_trained(model: dict[str, Any], path: Path, test_time: dict[str, Any] | None = None) -> TrainedNetwork:
    """Make the network that `model` configures, with the weights of a checkpoint; on the CPU.

    Raises:
        UserError: the weights do not fit it.
    """
    about = read_about(path)
    network = build_trained(model, path)
    try:
        normalize = Normalize(about.data.values["mean"], about.data.values["std"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"checkpoint={path} does not tell how its images are normalized, and was not used.") from error
    return TrainedNetwork(
        network.eval(),
        normalize,
        tuple(about.classes),
        image_format(about),
        build_test_time(test_time, about.image_shape),
    )


def image_format(about: About) -> ImageFormat:
    """What images are converted to, as they were for training."""
    channels, height, width = about.image_shape
    resize = about.data.values.get("resize")
    return ImageFormat(channels, height, width, resize if resize in RESIZE else "stretch")
