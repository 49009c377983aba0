"""What a checkpoint says about itself, read as data: nothing in the file can name code to run.

Beside what Lightning keeps in a checkpoint, its key "run" holds what `Metadata` lists, as a plain dictionary.
"""

import functools
import logging
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from lab_engine.artifacts.claims import MAX_VALUES, refuse_claims, refuse_packed
from lab_engine.base.errors import UserError
from lab_engine.config.command_line import CHOICE_PATTERN

log = logging.getLogger(__name__)

KEY = "run"
FORMAT: Literal[2] = 2
NOT_KEPT = {"mirrors", "cache", "takes", "gives"}
"""Keys that concern a machine, which a stranger's file must not choose, or the program."""
LAST = Path("checkpoints", "last.ckpt")
"""In a run folder."""
DEEPEST = 20  # settings within settings
OPTION = r"^[\w/-]+$"


class CheckpointMetadata(BaseModel):
    """What a checkpoint says about its run.

    Attributes:
        format: of this description.
        choices: the option of each group.
        words: of the command line that chose options, of a group with several, too.
        values: by group, the values of the task, the data and what they take.
        facts: what the data gave, see `lab_engine.config.facts`.
        precision: Lightning's name for it.
    """

    model_config = ConfigDict(strict=True)

    format: Literal[2]
    choices: dict[str, Annotated[str, Field(pattern=OPTION)]]
    words: list[Annotated[str, Field(pattern=f"^{CHOICE_PATTERN}$")]]
    values: dict[str, Any]
    facts: dict[str, Any]
    precision: str


def describe(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the checkpoints of a run are to say about it: strings, numbers, lists and dictionaries only.

    Args:
        config: of the run, checked.
        facts: of its data.
    """
    of_task = config["task"].get("takes", ())
    groups = dict.fromkeys(["task", "data", *of_task, *config["data"].get("takes", ())])
    return CheckpointMetadata(
        format=FORMAT,
        choices=config["choices"],
        words=config.get("words", []),
        values={
            group: _plain(config[group])
            for group in groups
            if isinstance(config.get(group), dict) or (group in of_task and config.get(group) is not None)
        },
        facts=_plain(facts),
        precision=config["trainer"]["precision"],
    ).model_dump()


def _plain(value: Any) -> Any:
    """Copy without what Hydra would act on and what concerns the machine."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key not in NOT_KEPT and not key.startswith("_")}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


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
    """Read as `read_checkpoint` does; `version` changes whenever the file does."""
    try:
        refuse_packed(path)
        _refuse_damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of odd pickles, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint[KEY]["format"] != FORMAT:
            raise UserError(
                f"checkpoint={path} was written by another version of this program, which described it otherwise.\n"
                "Train again, or evaluate it with that version."
            )
        metadata = CheckpointMetadata.model_validate(checkpoint[KEY])
        refuse_claims(checkpoint)
    except (OSError, UserError):
        raise
    except Exception as error:  # what is no checkpoint can raise anything
        raise UserError(
            f"checkpoint={path} is not a checkpoint of this program, or holds more than tensors and plain data.\n"
            "It was not used. Give a file that a training run of this version wrote."
        ) from error
    left = iter(range(MAX_VALUES))
    for part in metadata.values.values():
        _refuse_instructions(part, path, left)
    _refuse_instructions(metadata.facts, path, left, texts=True)
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


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint that the run in `folder` goes on from: the newest that is whole. None: it has none.

    Raises:
        UserError: it has some, and none can be used.
    """
    return _latest_checkpoint(folder)[0]


def take_up_last(folder: Path) -> Path | None:
    """Return the latest checkpoint of a run that goes on now; warn if it is not the newest, move a damaged one aside.

    Under its own name the damaged one would become the one before, in place of this one.
    """
    found, wrong = _latest_checkpoint(folder)
    if found is not None and wrong:
        log.warning("%s The one before it is used.", wrong)
        newest = folder / LAST
        with suppress(FileNotFoundError):  # it is missing, or of several devices another was quicker
            newest.replace(newest.with_name("last.damaged.ckpt"))
    return found


def _latest_checkpoint(folder: Path) -> tuple[Path | None, str]:
    """Return the checkpoint, and what is wrong with the one that should have been it, in a sentence."""
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


def _refuse_instructions(value: Any, path: Path, left: Iterator[int], depth: int = 0, texts: bool = False) -> None:
    """Refuse all but plain data, and what Hydra would act on: keys such as `_target_`, and interpolations.

    Facts of the data may be any `texts`, such as names of classes: they do not come to Hydra.
    """
    if depth > DEEPEST or next(left, None) is None:
        raise UserError(f"checkpoint={path} holds more settings than a network can have, and was not used.")
    if type(value) is dict:
        for key, part in value.items():
            if type(key) is not str or key.startswith("_"):
                raise UserError(f"checkpoint={path} names code to run ({key}={part}), and was not used.")
            _refuse_instructions(part, path, left, depth + 1, texts)
    elif type(value) is list:
        for part in value:
            _refuse_instructions(part, path, left, depth + 1, texts)
    elif type(value) not in (str, int, float, bool, type(None)):
        raise UserError(f"checkpoint={path} holds a {type(value).__name__} among its settings, and was not used.")
    elif type(value) is str and "${" in value and not texts:
        raise UserError(f"checkpoint={path} holds an interpolation ({value}), and was not used.")


def read_metadata(path: Path) -> CheckpointMetadata:
    """Return what a checkpoint says about its run; raises as `read_checkpoint` does."""
    return CheckpointMetadata.model_validate(read_checkpoint(path)[KEY])


def load_weights(task: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into a task.

    Raises:
        UserError: they are those of another one.
    """
    try:
        task.load_state_dict(read_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"checkpoint={path} does not fit this network: {reason}\nGive the model= it was trained with."
        ) from error


def steps_of(path: Path) -> int:
    """Return how many optimizer steps a checkpoint has behind it; raises as `read_checkpoint` does."""
    return int(read_checkpoint(path)["global_step"])
