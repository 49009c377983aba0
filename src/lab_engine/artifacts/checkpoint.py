"""What a checkpoint says about itself, read as data: nothing in the file can name code to run.

In addition to Lightning's keys, a checkpoint has a key "run": the fields of `CheckpointMetadata` as a dictionary.
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

from lab_engine.artifacts.claims import MAX_VALUES, refuse_compressed, refuse_expanded
from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean_path
from lab_engine.config.command_line import CHOICE_PATTERN

log = logging.getLogger(__name__)

KEY = "run"
FORMAT: Literal[2] = 2
NOT_KEPT = {"mirrors", "cache", "takes", "gives", "init_from", "freeze"}
"""Keys about the machine, which a stranger's file must not set, or about the program."""
LAST = Path("checkpoints", "last.ckpt")
"""In a run folder."""
MAX_DEPTH = 20  # of settings within settings
OPTION = r"^[\w/-]+$"


class CheckpointMetadata(BaseModel):
    """What a checkpoint says about its run.

    Attributes:
        format: version of these fields.
        choices: the option of each group.
        words: of the command line that choose options, also several of one group.
        values: plain values of the task, the data and what they take, by group.
        facts: of the data, see `lab_engine.config.facts`.
        precision: by Lightning's name, such as "bf16-mixed".
    """

    model_config = ConfigDict(strict=True)

    format: Literal[2]
    choices: dict[str, Annotated[str, Field(pattern=OPTION)]]
    words: list[Annotated[str, Field(pattern=f"^{CHOICE_PATTERN}$")]]
    values: dict[str, Any]
    facts: dict[str, Any]
    precision: str


def metadata_of(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata for the checkpoints of a run: only strings, numbers, lists and dictionaries.

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
    """Copy without keys that Hydra would act on, and those in `NOT_KEPT`."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key not in NOT_KEPT and not key.startswith("_")}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint that a run of this program wrote, with tensors on the CPU.

    The result is cached as long as the file does not change, so the caller must not modify it.

    Raises:
        UserError: the file is missing, is no checkpoint of this program, or holds more than tensors and plain data.
    """
    if path.is_dir():
        raise UserError(f"checkpoint={path} is a folder. Give a file in it, such as {path / 'checkpoints/best.ckpt'}.")
    if not path.is_file():
        raise UserError(
            f"checkpoint={path}: there is no such file{did_you_mean_path(path)}\n"
            "A run writes RUN_FOLDER/checkpoints/best.ckpt."
        )
    facts = path.stat()
    return _read(path, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@functools.lru_cache(maxsize=2)  # for a comparison of two runs
def _read(path: Path, *version: int) -> dict[str, Any]:
    """Read as `read_checkpoint` does; `version` changes whenever the file does."""
    try:
        refuse_compressed(path)
        _refuse_damaged(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of unusual pickles, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint[KEY]["format"] != FORMAT:
            raise UserError(
                f"checkpoint={path} was written by another version of this program, in another format.\n"
                "Train again, or evaluate it with that version."
            )
        metadata = CheckpointMetadata.model_validate(checkpoint[KEY])
        refuse_expanded(checkpoint)
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
    """Refuse a file that has changed since it was written; PyTorch would not notice a changed bit."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            raise UserError(
                f"checkpoint={path} is damaged: its content has changed since it was written, and was not used.\n"
                "Give another file of the run, such as last.ckpt or last.previous.ckpt."
            )


def previous(path: Path) -> Path:
    """Return where the previous checkpoint is kept when `path` is written again."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint from which a run resumes, the newest that is undamaged; None if the run has none.

    Raises:
        UserError: all checkpoints are damaged.
    """
    return _latest_checkpoint(folder)[0]


def recover_latest_checkpoint(folder: Path) -> Path | None:
    """Return `latest_checkpoint`; warn if the newest is missing or damaged, and rename a damaged one.

    Under its own name, the next save would rotate the damaged file over the previous, good one.
    """
    found, wrong = _latest_checkpoint(folder)
    if found is not None and wrong:
        log.warning("%s The previous checkpoint is used instead.", wrong)
        newest = folder / LAST
        with suppress(FileNotFoundError):  # it is missing, or the process of another device was faster
            newest.replace(newest.with_name("last.damaged.ckpt"))
    return found


def _latest_checkpoint(folder: Path) -> tuple[Path | None, str]:
    """Return the newest undamaged checkpoint, and a sentence on what is wrong with a newer one."""
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
                    f"{folder} cannot be resumed: {wrong}\n"
                    f"To train from the start, remove {' and '.join(each.name for each in there)} from its checkpoints."
                ) from error
        else:
            return path, wrong
    return None, ""


def _refuse_instructions(value: Any, path: Path, left: Iterator[int], depth: int = 0, texts: bool = False) -> None:
    """Refuse what is not plain data, and what Hydra would act on: keys such as `_target_`, and interpolations.

    With `texts`, any text is allowed: the facts of the data, such as names of classes, are not given to Hydra.
    """
    if depth > MAX_DEPTH or next(left, None) is None:
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
    """Return the metadata of a checkpoint; raises as `read_checkpoint` does."""
    return CheckpointMetadata.model_validate(read_checkpoint(path)[KEY])


def load_weights(task: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into a task.

    Raises:
        UserError: they are the weights of another task.
    """
    try:
        task.load_state_dict(read_checkpoint(path)["state_dict"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UserError(
            f"checkpoint={path} does not fit this network: {reason}\nGive the model= it was trained with."
        ) from error


def steps_of(path: Path) -> int:
    """Return after how many optimizer steps a checkpoint was written; raises as `read_checkpoint` does."""
    return int(read_checkpoint(path)["global_step"])
