"""What a checkpoint says about itself, read as data: nothing in the file can name code to run.

Beside what Lightning keeps in a checkpoint, its key "lenet_lab" holds what `About` lists, as a plain dictionary.
"""

import functools
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from lenet_lab.claims import MOST_VALUES, refuse_claims, refuse_packed
from lenet_lab.data.image_set import ImageSet
from lenet_lab.errors import UserError

log = logging.getLogger(__name__)

KEY = "lenet_lab"
NOT_KEPT = {"mirrors", "cache"}  # of `data`: they concern a machine, and a stranger's file must not choose them
PREFIX = "network."
"""Of weights in a checkpoint: the attribute of `Classifier` that holds the network."""
LAST = Path("checkpoints", "last.ckpt")
"""In a run folder."""
DEEPEST = 20  # settings within settings
Side = Annotated[int, Field(ge=1, le=1 << 14)]  # beyond, a file of a few bytes could ask for gigabytes


class Choice(BaseModel):
    """An option of a configuration group, and the values of its keys."""

    model_config = ConfigDict(strict=True)

    option: str = Field(pattern=r"^\w+$")
    values: dict[str, Any]


class About(BaseModel):
    """What a checkpoint says about itself; `image_shape` is (C, H, W), `precision` Lightning's name for it."""

    model_config = ConfigDict(strict=True)

    model: Choice
    data: Choice
    test_time: Choice = Choice(option="none", values={})  # files of older versions do not say it
    classes: list[str]
    image_shape: Annotated[list[Side], Field(min_length=3, max_length=3)]
    precision: str


def describe(config: Mapping[str, Any], images: ImageSet) -> dict[str, Any]:
    """What a checkpoint of this run is to say about itself; strings, numbers, lists and dictionaries only."""
    return About(
        model=Choice(option=config["choices"]["model"], values=_values(config["model"])),
        data=Choice(option=config["choices"]["data"], values=_values(config["data"])),
        test_time=Choice(
            option=config["choices"].get("test_time", "none"), values=_values(config.get("test_time") or {})
        ),
        classes=list(images.classes),
        image_shape=list(images.image_shape),
        precision=config["trainer"]["precision"],
    ).model_dump()


def _values(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in NOT_KEPT and not key.startswith("_")}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint that a run of this program wrote; tensors come to the CPU.

    A file that has not changed since is not read again: what is given is shared, and to be left as it is.

    Raises:
        UserError: there is no such file, it is no checkpoint of this program, or it holds more than tensors and
            plain data.
    """
    if path.is_dir():
        raise UserError(f"checkpoint={path} is a folder. Give a file in it, such as {path / 'checkpoints/best.ckpt'}.")
    if not path.is_file():
        raise UserError(f"checkpoint={path}: there is no such file. A run writes RUN_FOLDER/checkpoints/best.ckpt.")
    facts = path.stat()
    return _read(path, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@functools.lru_cache(maxsize=2)  # of two runs that are compared
def _read(path: Path, *version: int) -> dict[str, Any]:
    """Do as `read_checkpoint`; `version` changes whenever the file does."""
    try:
        refuse_packed(path)
        _refuse_damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd pickles, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        about = About.model_validate(checkpoint[KEY])
        refuse_claims(checkpoint)
    except (OSError, UserError):
        raise
    except Exception as error:  # what is no checkpoint can raise anything
        raise UserError(
            f"checkpoint={path} is not a checkpoint of this program, or holds more than tensors and plain data.\n"
            "It was not used. Give a file that `python -m lenet_lab.train` wrote."
        ) from error
    left = iter(range(MOST_VALUES))
    for choice in (about.model, about.data, about.test_time):
        _refuse_instructions(choice.values, path, left)
    return checkpoint


def _refuse_damaged(path: Path) -> None:
    """Refuse what has changed since it was written; PyTorch would not notice a bit that is another."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise UserError(
                f"checkpoint={path} is damaged: what it holds is not what was written, and was not used.\n"
                "Give another, such as last.ckpt or last.previous.ckpt beside it."
            )


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def find_last(folder: Path) -> Path | None:
    """Give the checkpoint that the run in `folder` goes on from: the newest that is whole. None: it has none.

    Raises:
        UserError: it has some, and none can be used.
    """
    return _find_last(folder)[0]


def take_up_last(folder: Path) -> Path | None:
    """Do as `find_last` where the run goes on now: warn if it is not the newest, and put a damaged one aside.

    Under its own name the damaged one would become the one before, in place of this one.
    """
    found, wrong = _find_last(folder)
    if found is not None and wrong:
        log.warning("%s The one before it is used.", wrong)
        newest = folder / LAST
        with suppress(FileNotFoundError):  # it is missing, or of several devices another was quicker
            newest.replace(newest.with_name("last.damaged.ckpt"))
    return found


def _find_last(folder: Path) -> tuple[Path | None, str]:
    """Give the checkpoint, and what is wrong with the one that should have been it, in a sentence."""
    last = folder / LAST
    there = [path for path in (last, previous(last)) if path.exists()]
    wrong = "" if last in there else f"{last} is missing."
    for path in there:
        try:
            read_checkpoint(path)
        except (UserError, OSError) as error:
            wrong = str(error).splitlines()[0]
            if path == there[-1]:
                raise UserError(
                    f"{folder} cannot go on: {wrong}\n"
                    f"To begin anew, remove {' and '.join(each.name for each in there)} from its checkpoints."
                ) from error
        else:
            return path, wrong
    return None, ""


def _refuse_instructions(value: Any, path: Path, left: Iterator[int], depth: int = 0) -> None:
    """Refuse all but plain data, and what Hydra would act on: keys such as `_target_`, and interpolations."""
    if depth > DEEPEST or next(left, None) is None:
        raise UserError(f"checkpoint={path} holds more settings than a network can have, and was not used.")
    if type(value) is dict:
        for key, part in value.items():
            if type(key) is not str or key.startswith("_"):
                raise UserError(f"checkpoint={path} names code to run ({key}={part}), and was not used.")
            _refuse_instructions(part, path, left, depth + 1)
    elif type(value) is list:
        for part in value:
            _refuse_instructions(part, path, left, depth + 1)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise UserError(f"checkpoint={path} holds a {type(value).__name__} among its settings, and was not used.")
    elif type(value) is str and "${" in value:
        raise UserError(f"checkpoint={path} holds an interpolation ({value}), and was not used.")


def read_about(path: Path) -> About:
    """Give what a checkpoint says about itself; raises as `read_checkpoint` does."""
    return About.model_validate(read_checkpoint(path)[KEY])


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a checkpoint into the network of a `Classifier`.

    Raises:
        UserError: they are those of another network.
    """
    weights = read_checkpoint(path)["state_dict"]
    own = {key: value for key, value in weights.items() if key.startswith(PREFIX)}  # a loss may have some, too
    try:
        network.load_state_dict({key.removeprefix(PREFIX): value for key, value in own.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"checkpoint={path} does not fit this network: {reason}\nGive the model= it was trained with."
        ) from error


def steps_of(path: Path) -> int:
    """Tell how many optimizer steps a checkpoint has behind it; raises as `read_checkpoint` does."""
    return int(read_checkpoint(path)["global_step"])


def check_images(path: Path, images: ImageSet) -> None:
    """Refuse images that differ in classes or shape from those that the checkpoint was trained on.

    Raises:
        UserError: they differ.
    """
    about = read_about(path)
    for name, trained, given in (
        ("classes", about.classes, list(images.classes)),
        ("image shape", about.image_shape, list(images.image_shape)),
    ):
        if trained != given:
            raise UserError(
                f"checkpoint={path} was trained on other images.\n"
                f"Its {name}: {', '.join(map(str, trained))}; of these images: {', '.join(map(str, given))}."
            )
