"""What a configuration that comes from a run folder may make and name, for the folder may be a stranger's.

A file in `conf/` is the user's own, and its `_target_` may be anything. `config.yaml` of a run is data: it chooses
among the networks, optimizers, losses, … of known libraries and of this package, and it writes below its own run
folder. Everything else needs the user's word, `allow=[…]`.
"""

import functools
import importlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_lab.errors import UserError
from lenet_lab.imports import import_quickly
from lenet_lab.wording import printable

OWN = __name__.partition(".")[0]
LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics")
OF_SENDING_LOGGERS = {
    "lightning.pytorch.loggers.mlflow.MLFlowLogger": {
        *("_target_", "tracking_uri", "experiment_name", "run_name", "tags"),
    },
    "lightning.pytorch.loggers.wandb.WandbLogger": {
        *("_target_", "save_dir", "project", "offline", "settings"),
        *("name", "group", "job_type", "notes", "tags"),
    },
}
"""Loggers that could send to a server, and the arguments with which they do not; `offline` must be true."""
OF_WANDB_SETTINGS = {"console", "silent", "reinit"}
DEFINED_IN = (
    OWN,
    *("torch.nn", "torch.optim"),
    *("torchvision.models", "torchvision.ops", "torchvision.transforms"),
    *("torchmetrics.aggregation", "torchmetrics.classification", "torchmetrics.regression"),  # others fetch networks
    *("lightning.pytorch.callbacks", "lightning.pytorch.profilers", "lightning.pytorch.trainer"),
    *("lightning.pytorch.loggers.csv_logs", "lightning.pytorch.loggers.tensorboard"),  # others send to a server
    *OF_SENDING_LOGGERS,
)
"""Where a class may be defined: none of these loads code, unpickles or fetches anything when it is made."""
NAMED = (*DEFINED_IN, "lightning.Trainer", "lightning.pytorch.Trainer", "lightning.pytorch.loggers")
"""How its name may begin: some are known by a shorter one."""
PLAIN = ("datetime.timedelta",)
"""Values that YAML cannot write, such as the time between two checkpoints."""
KINDS = {
    "model": "torch.nn.Module",
    "loss": "torch.nn.Module",
    "augment": "torch.nn.Module",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "callbacks": "lightning.pytorch.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
    "trainer": "lightning.pytorch.Trainer",
    "profiler": "lightning.pytorch.profilers.Profiler",
}
"""What a target of each group must be a class of; one of `METHODS` has a method instead."""
METHODS = {"data": "load", "test_time": "__call__"}
ARGUMENT_KINDS = (KINDS["model"], KINDS["optimizer"], KINDS["scheduler"], KINDS["profiler"])
"""What an argument of a target may be made from."""
FUNCTIONS = {"loss": "torch.nn.functional"}
"""The one module whose functions a group may name."""
NAMED_GROUPS = ("augment", "callbacks", "logger")
"""Groups of several parts, each under a name."""
WRITTEN = {"artifact_location", "default_root_dir", "dir", "dirpath", "folder", "log_dir", "root_dir", "save_dir"}
"""Arguments that are folders to write to."""
SERVERS = {"tracking_uri"}
"""Arguments that name a server, whatever their form."""
DATABASE = re.compile(r"sqlite:///(/[^?%]+)(\?timeout=\d+)?", re.ASCII)
"""In the place of one: a file shared by many runs, in the run folder, in one above it, or where `conf/` has it."""
NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)  # nothing that begins with _ is meant for others
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/|::|^//")
HYDRAS_OWN = {"_partial_": bool, "_recursive_": bool, "_convert_": str, "_args_": list}
"""Keys beside `_target_` that mean something to Hydra, and what their values must be."""
DEEPEST = 50  # parts within parts
LONGEST_SHOWN = 80  # characters


@dataclass(frozen=True)
class _Target:
    key: tuple[str, ...]
    name: str
    node: Mapping[str, Any]

    @property
    def group(self) -> str | None:
        """The group that the target is an option of; None: it is an argument of another target."""
        if self.key == ("trainer", "profiler"):
            return "profiler"
        of_group = len(self.key) == (2 if self.key[0] in NAMED_GROUPS else 1)
        return self.key[0] if of_group else None


def refuse_foreign_targets(config: Mapping[str, Any], allow: Sequence[str], source: Path) -> None:
    """Refuse a configuration that could do more than train a network in its run folder.

    Names are judged before anything is imported, and only packages of the list are. What a name leads to must be a
    class of the kind that its place asks for, and defined where the list says: a name cannot lead through a package
    into another one.

    Args:
        config: plain, as read from a run folder; its `folder` is the one that the user has named.
        allow: what the user trusts beside the list: packages or modules (all of whose functions and classes may be
            called), addresses (whatever begins so) and folders (with what is below).
        source: the file that `config` is from, for the message.

    Raises:
        UserError: it names something else; key, value, file and cure are told.
    """
    review = _Review(config, allow, source)
    targets = list(review.targets(config, ()))
    for target in targets:
        review.judge_name(target)
    if targets:
        import_quickly("lightning.pytorch")
    for target in targets:
        review.judge_object(target)


class _Review:
    def __init__(self, config: Mapping[str, Any], allow: Sequence[str], source: Path) -> None:
        self.allowed = [entry for entry in allow if entry not in LIBRARIES]  # all of torch is more than anyone means
        self.source = source
        self.folder = Path(str(config.get("folder", source.parent))).absolute()

    # --- plain values ---

    def targets(self, value: Any, key: tuple[str, ...]) -> Iterator[_Target]:
        """Give all targets in `value`, and refuse on the way what is wrong with keys and plain values."""
        if len(key) > DEEPEST:
            self.refuse(key[:3], "…", f"it has more than {DEEPEST} parts within parts", "")
        if type(value) is dict:
            self.judge_keys(value, key)
            if "_target_" in value:
                yield _Target(key, value["_target_"], value)
            for name, part in value.items():
                yield from self.targets(part, (*key, name))
        elif type(value) is list:
            for number, part in enumerate(value):
                yield from self.targets(part, (*key, str(number)))
        elif type(value) is str:
            self.judge_text(value, key)
        elif type(value) not in (int, float, bool, type(None)):
            self.refuse(key, value, f"a {type(value).__name__} is no plain value", "")

    def judge_keys(self, node: dict[Any, Any], key: tuple[str, ...]) -> None:
        for name, value in node.items():
            if type(name) is not str:
                self.refuse((*key, str(name)), value, "a key must be text", "")
            if not name.startswith("_"):
                continue
            wanted = str if name == "_target_" else HYDRAS_OWN.get(name)
            if "_target_" not in node or type(value) is not wanted:
                self.refuse((*key, name), value, "it would tell Hydra something that no configuration needs to", "")

    def judge_text(self, text: str, key: tuple[str, ...]) -> None:
        if "${" in text:
            self.refuse(key, text, "config.yaml of a run holds no interpolations", "Write the value in its place.")
        if key[-1] == "_target_" or key == ("folder",):
            return
        if key[-1] in SERVERS and (database := DATABASE.fullmatch(text)):
            self.judge_database(Path(os.path.normpath(database[1])), text, key)
        elif ADDRESS.search(text) or key[-1] in SERVERS:
            below = [f"{entry.rstrip('/')}/" for entry in self.allowed]
            if not f"{text.rstrip('/')}/".startswith(tuple(below)) and text not in _own_texts():
                self.refuse(key, text, "it is an address, and data may be sent or fetched there", f"allow=[{text}]")
        elif key[0] != "data":  # which reads images wherever they are, and keeps decoded ones under names of its own
            self.judge_path(text, key)

    def judge_path(self, text: str, key: tuple[str, ...]) -> None:
        is_path = key[-1] in WRITTEN or text.startswith(("/", "~")) or ".." in Path(text).parts
        if not is_path or key[0] in ("checkpoint", "choices"):
            return
        path = Path(os.path.normpath(Path(text).expanduser().absolute()))
        if not self.may_write(path):
            self.refuse_path(path, text, key)

    def judge_database(self, path: Path, text: str, key: tuple[str, ...]) -> None:
        of_conf = {Path(own.partition("?")[0].removeprefix("sqlite:///")).absolute() for own in _own_texts()}
        if not (self.may_write(path) or self.folder.is_relative_to(path.parent) or path in of_conf):
            self.refuse_path(path, text, key)

    def may_write(self, path: Path) -> bool:
        places = [self.folder, *(Path(entry) for entry in self.allowed if entry.startswith("/"))]
        return any(path.is_relative_to(place) for place in places)

    def refuse_path(self, path: Path, text: str, key: tuple[str, ...]) -> None:
        self.refuse(key, text, f"it lies outside the run folder {self.folder}", f"allow=[{path}]")

    # --- targets ---

    def judge_name(self, target: _Target) -> None:
        group, name = target.group, target.name
        if group is None and target.key[0] in KINDS | METHODS:
            pass  # an argument
        elif group not in KINDS | METHODS:
            self.refuse_target(target, "nothing is made at this place", "")
        if not NAME.fullmatch(name):
            self.refuse_target(target, "it is no name of a class, as package.module.Name", "")
        if self.is_allowed(name) or name in PLAIN:
            return
        if not _below(name, NAMED):
            self.refuse_target(target, *self.not_listed(name))

    def judge_sending(self, target: _Target, keys: set[str]) -> None:
        """Refuse a logger that might send what it gets to a server."""
        node, settings = target.node, target.node.get("settings", {})
        wrong = [f"with {key}" for key in sorted(node.keys() - keys)]
        if type(settings) is not dict or settings.keys() - OF_WANDB_SETTINGS:
            wrong.append("with these settings")
        if "offline" in keys and node.get("offline") is not True:
            wrong.append("without offline=true")
        if "tracking_uri" in keys and node.get("tracking_uri") is None:
            wrong.append("without a tracking_uri")
        if wrong:
            self.refuse_target(target, f"{wrong[0]} it may send data to a server", f"allow=[{target.name}]")

    def judge_object(self, target: _Target) -> None:
        found = self.find(target)
        module = getattr(found, "__module__", None)
        where = f"{module}.{getattr(found, '__qualname__', '')}"
        group = target.group
        if target.name in PLAIN and group is None:
            return
        if not isinstance(module, str) or not (_below(where, DEFINED_IN) or self.is_allowed(where)):
            self.refuse_target(target, f"it is defined elsewhere, as {where}", *self.not_listed(where)[1:])
        if where in OF_SENDING_LOGGERS and not self.is_allowed(target.name):
            self.judge_sending(target, OF_SENDING_LOGGERS[where])
        if not inspect.isclass(found):
            of_group = inspect.isfunction(found) and group in FUNCTIONS and module == FUNCTIONS[group]
            callable_of_user = self.is_allowed(where) and (inspect.isroutine(found))
            if not (of_group or callable_of_user):
                self.refuse_target(target, "it is no class", self.cure(where))
            return
        if group is None:
            fits = issubclass(found, tuple(map(_resolve, ARGUMENT_KINDS))) or self.is_allowed(where)
            kind = "a network, optimizer, scheduler or profiler"
        elif group in METHODS:
            own = _below(where, (OWN,)) or self.is_allowed(where)
            fits = own and any(METHODS[group] in vars(base) for base in found.__mro__)
            kind = f"a class of {OWN} with a method {METHODS[group]}"
        else:
            fits = issubclass(found, _resolve(KINDS[group]))
            kind = f"a {KINDS[group]}"
        if not fits:
            self.refuse_target(target, f"{'/'.join(target.key)} must be {kind}", "")

    def find(self, target: _Target) -> Any:
        """Give what the name leads to; modules are imported one by one, each only below one that may be."""
        first, *rest = target.name.split(".")
        try:
            found: Any = importlib.import_module(first)
            for part in rest:
                if inspect.ismodule(found) and not hasattr(found, part):
                    importlib.import_module(f"{found.__name__}.{part}")
                found = getattr(found, part)
                foreign = inspect.ismodule(found) and found.__name__.partition(".")[0] != first
                if foreign or getattr(found, "__module__", first) == "builtins":
                    self.refuse_target(target, f"it leads through {part} into another package", "")
        except UserError:
            raise
        except Exception as error:  # a package of the user's may raise anything as it is imported
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{self.told(target)} cannot be found: {why}.") from error
        return found

    def is_allowed(self, name: str) -> bool:
        return _below(name, self.allowed)

    def not_listed(self, name: str) -> tuple[str, str]:
        known = ", ".join((*LIBRARIES, OWN))
        return f"a run folder may name networks, optimizers and the like of {known} only", self.cure(name)

    def cure(self, name: str) -> str:
        package, *rest = name.split(".")
        if package in LIBRARIES:
            return ""
        module = ".".join([package, *rest[:-1]]) if package == OWN else package
        return f"allow=[{module}]" if NAME.fullmatch(f"{module}.x") else ""

    # --- messages ---

    def told(self, target: _Target) -> str:
        return f"{'.'.join((*target.key, '_target_'))}={_shown(target.name)} in {self.source}"

    def refuse_target(self, target: _Target, cause: str, cure: str = "") -> None:
        self.refuse((*target.key, "_target_"), target.name, cause, cure)

    def refuse(self, key: tuple[str, ...], value: Any, cause: str, cure: str) -> None:
        """Raise; `cure` is what to add, or a sentence, or empty where there is none that is safe."""
        advice = f"If you trust it, add {cure}." if cure.startswith("allow=") else cure or "Nothing of it was run."
        where = _shown(".".join(key))
        raise UserError(f"{where}={_shown(value)} in {self.source} is refused: {_shown(cause, 300)}.\n{advice}")


def _below(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _shown(value: Any, longest: int = LONGEST_SHOWN) -> str:
    text = printable(str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[:longest]}…"


def _resolve(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    kind: type = getattr(importlib.import_module(module), attribute)
    return kind


@functools.cache
def _own_texts() -> frozenset[str]:
    """Give all texts in the user's own `conf/`, which may name servers and the like."""
    import yaml

    from lenet_lab.command import config_folder

    return frozenset(
        text for file in config_folder().glob("*/*.yaml") for text in _texts(yaml.safe_load(file.read_text()))
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
