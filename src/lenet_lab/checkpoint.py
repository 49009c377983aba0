"""What a checkpoint says about itself, read as data: nothing in the file can name code to run.

Beside what Lightning keeps in a checkpoint, its key "lenet_lab" holds a plain dictionary: the names of the model and
data options that were chosen and their values, the class names and the image shape.
"""

import functools
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lenet_lab.data.image_set import ImageSet
from lenet_lab.errors import UserError

if TYPE_CHECKING:  # it would bring Lightning, which a refusal need not wait for
    from lenet_lab.classifier import Classifier

KEY = "lenet_lab"
NOT_KEPT = {
    "mirrors",
    "md5",
    "cache",
}  # of `data`: they concern a machine, and a stranger's file must not choose them


def describe(config: Mapping[str, Any], images: ImageSet) -> dict[str, Any]:
    """What a checkpoint of this run is to say about itself; strings, numbers, lists and dictionaries only."""
    return {
        "model": {"option": config["choices"]["model"], "values": _values(config["model"])},
        "data": {"option": config["choices"]["data"], "values": _values(config["data"])},
        "classes": list(images.classes),
        "image_shape": list(images.image_shape),
    }


def _values(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in NOT_KEPT and not key.startswith("_")}


@functools.cache
def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint that a run of this program wrote; tensors come to the CPU.

    Raises:
        UserError: there is no such file, it is no checkpoint of this program, or it holds more than tensors and
            plain data.
    """
    if not path.is_file():
        raise UserError(f"checkpoint={path}: there is no such file. A run writes RUN_FOLDER/checkpoints/best.ckpt.")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        about = checkpoint[KEY]
        for part in (about["model"], about["data"]):
            if not re.fullmatch(r"\w+", part["option"]):
                raise ValueError(part["option"])
            _refuse_instructions(part["values"], path)
        checkpoint["state_dict"].keys()
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:
        raise UserError(
            f"checkpoint={path} is not a checkpoint of this program, or holds more than tensors and plain data.\n"
            "It was not used. Give a file that `python -m lenet_lab.train` wrote."
        ) from error
    return checkpoint


def load_weights(classifier: "Classifier", path: Path) -> None:
    """Put the weights of a checkpoint into a classifier.

    Raises:
        UserError: they are those of another network.
    """
    read_checkpoint.cache_clear()  # a run writes the file anew
    try:
        classifier.load_state_dict(read_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"checkpoint={path} does not fit this network: {reason}\nGive the model= it was trained with."
        ) from error


def check_images(path: Path, images: ImageSet) -> None:
    """Refuse images that differ in classes or shape from those that the checkpoint was trained on.

    Raises:
        UserError: they differ.
    """
    about = read_checkpoint(path)[KEY]
    for name, trained, given in (
        ("classes", about["classes"], list(images.classes)),
        ("image shape", about["image_shape"], list(images.image_shape)),
    ):
        if trained != given:
            raise UserError(
                f"checkpoint={path} was trained on other images.\n"
                f"Its {name}: {', '.join(map(str, trained))}; of these images: {', '.join(map(str, given))}."
            )


def _refuse_instructions(value: Any, path: Path) -> None:
    """Refuse what Hydra would act on: keys such as `_target_`, and interpolations."""
    if isinstance(value, dict):
        for key, part in value.items():
            if str(key).startswith("_"):
                raise UserError(f"checkpoint={path} names code to run ({key}={part}), and was not used.")
            _refuse_instructions(part, path)
    elif isinstance(value, list):
        for part in value:
            _refuse_instructions(part, path)
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"checkpoint={path} holds an interpolation ({value}), and was not used.")
