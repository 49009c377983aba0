"""Whatever a name from a run folder leads to: it is a class of the kind that its place asks for, or refused."""

import copy
import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lenet_lab.compose import compose
from lenet_lab.data.cifar10 import Cifar10
from lenet_lab.data.digits import Digits
from lenet_lab.data.image_folder import ImageFolder
from lenet_lab.errors import UserError
from lenet_lab.models.lenet import LeNet
from lenet_lab.test_time import Views
from lenet_lab.trust import NAMED, refuse_foreign_targets
from tests.properties import examples

CONFIG = compose("data=digits", folder="/runs/there")
KINDS: dict[tuple[str, ...], tuple[type, ...]] = {
    ("model",): (nn.Module,),
    ("loss",): (nn.Module,),
    ("augment", "mine"): (nn.Module,),
    ("optimizer",): (Optimizer,),
    ("scheduler",): (LRScheduler,),
    ("callbacks", "mine"): (Callback,),
    ("logger", "mine"): (Logger,),
    ("trainer",): (Trainer,),
    ("trainer", "profiler"): (Profiler,),
    ("data",): (Digits, ImageFolder, Cifar10),
    ("test_time",): (Views, LeNet),  # which can be called as well
    ("model", "part"): (nn.Module, Optimizer, LRScheduler, Profiler),
}
KNOWN = (
    *("torch.nn.Linear", "torchvision.models.ResNet", "lenet_lab.models.lenet.LeNet", "torch.optim.SGD"),
    *("torch.optim.lr_scheduler.OneCycleLR", "lightning.pytorch.callbacks.Timer", "lightning.pytorch.Trainer"),
    *("lenet_lab.loggers.csv.CSV", "lightning.pytorch.profilers.SimpleProfiler", "lenet_lab.data.digits.Digits"),
    *("lenet_lab.data.image_folder.ImageFolder", "lenet_lab.test_time.Views", "lenet_lab.optimizers.muon.Muon"),
)
MODULES = (
    *("torch.nn.", "torch.optim.", "torchvision.models.", "torchvision.ops.", "torchvision.transforms."),
    *("torchmetrics.aggregation", "torchmetrics.classification.", "torchmetrics.regression.", "lenet_lab."),
    *("lightning.pytorch.callbacks.", "lightning.pytorch.profilers.", "lightning.pytorch.trainer."),
    *("lightning.pytorch.loggers.csv_logs", "lightning.pytorch.loggers.tensorboard"),
)
"""Where what is accepted may be defined."""
BEGINNINGS = [*NAMED, "torch", "torchvision", "torchmetrics", "lightning", "lightning.pytorch"]


def led_to(beginning: str, steps: list[int]) -> str:
    """A name that leads somewhere: from a package of the list through whatever its parts have."""
    name, found = beginning, get_object(beginning)
    for step in steps:
        parts = [part for part in dir(found) if part.isidentifier()]
        part = parts[step % len(parts)]
        name += f".{part}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is old, and is given nevertheless
            try:
                found = getattr(found, part)
            except Exception:  # some know of attributes that they do not have
                break
    return name


def put(key: tuple[str, ...], target: str) -> dict[str, Any]:
    """A configuration with the target there."""
    config = copy.deepcopy(CONFIG)
    node = config
    for part in key[:-1]:
        node[part] = node.get(part) or {}
        node = node[part]
    node[key[-1]] = {"_target_": target}
    return config


@pytest.mark.filterwarnings("ignore")  # of old names that are looked up
@examples(600)
@given(
    st.sampled_from(BEGINNINGS),
    st.lists(st.integers(0, 2**32), min_size=1, max_size=4),
    st.sampled_from(list(KINDS)),
)
def test_only_a_class_of_the_kind_is_accepted(beginning: str, steps: list[int], key: tuple[str, ...]) -> None:
    name = led_to(beginning, steps)
    refused = ""
    try:
        refuse_foreign_targets(put(key, name), (), Path("config.yaml"))
    except UserError as error:
        refused = str(error)
    if refused:
        assert len(refused.splitlines()) <= 2
        assert refused.startswith(".".join(key))
        return
    found = get_object(name)
    if key == ("loss",) and inspect.isfunction(found):
        assert found.__module__ == "torch.nn.functional"
        return
    assert inspect.isclass(found)
    assert issubclass(found, KINDS[key])
    assert f"{found.__module__}.".startswith(MODULES)


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize("name", KNOWN)
def test_a_class_is_accepted_at_its_own_place_and_nowhere_else(name: str, key: tuple[str, ...]) -> None:
    if issubclass(get_object(name), KINDS[key]):
        refuse_foreign_targets(put(key, name), (), Path("config.yaml"))
    else:
        with pytest.raises(UserError, match="is refused"):
            refuse_foreign_targets(put(key, name), (), Path("config.yaml"))
