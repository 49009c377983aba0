"""Build the data, the task and the Trainer of a run from its checked configuration."""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from lab_engine.artifacts.checkpoint_io import AtomicCheckpointIO
from lab_engine.artifacts.run_folder import DATA_LOCK
from lab_engine.base.devices import MINUTES_TO_WAIT, cores, device_count, launched_by_slurm, threads_for
from lab_engine.base.errors import UserError
from lab_engine.config.facts import find_from_data, plain_fact, split_facts
from lab_engine.config.instantiate import build, build_taken
from lab_engine.training.compiled import compile_forward
from lab_engine.training.determinism import is_deterministic
from lab_engine.training.interface import ChecksFacts, GivesFacts, HasBatchValues
from lab_engine.training.lean_loop import use_lean_loop
from lab_engine.training.pretrained import OF_MODEL, freeze, load_pretrained
from lab_engine.training.speed import MEMORY_FORMATS, has_gpu

Config = dict[str, Any]

DATA_KEYS = ("takes", "gives")
TASK_KEYS = ("takes", "monitor", "mode", "directions", "percent", "training_only")
"""Keys of `data` and `task` that the engine reads and does not pass as arguments."""


def build_data(config: Config) -> LightningDataModule:
    """Build the data module from `data` and the groups it takes; nothing is loaded yet.

    Raises:
        UserError: it cannot be built, or is not a LightningDataModule.
    """
    node = config["data"]
    arguments = {key: value for key, value in node.items() if key not in DATA_KEYS}
    made = build(arguments, "data", **build_taken(config, "data"))
    if not isinstance(made, LightningDataModule):
        raise UserError(f"data ({node['_target_']}) makes a {type(made).__name__}: give a LightningDataModule.")
    return made


def facts_of(data: LightningDataModule, config: Config) -> dict[str, Any]:
    """Set up the data and return its facts, the values of `from_data`, as its `model_arguments()` gives them.

    Data without `data.gives` has no facts and is set up later, by Lightning.

    Raises:
        UserError: a fact that `data.gives` lists, and that a value of the configuration stands for, is missing.
    """
    gives = config["data"].get("gives", ())
    if not gives:
        return {}
    trainer = config["trainer"]
    several = device_count(trainer) * trainer["num_nodes"] > 1
    prepares = type(data).prepare_data is not LightningDataModule.prepare_data
    # one process at a time
    with FileLock(Path(config["folder"]) / DATA_LOCK) if several and prepares else nullcontext():
        data.prepare_data()
        data.setup("fit")
    facts: dict[str, Any] = data.model_arguments() if isinstance(data, GivesFacts) else {}
    used = {path[-1] for path in find_from_data(config)}
    if lacking := [name for name in gives if name not in facts and name in used]:
        raise UserError(
            f"data ({config['data']['_target_']}) does not give {lacking[0]}, which data.gives lists.\n"
            f"Choose other options of {', '.join(_groups_with(config, lacking[0]))}, or have its method "
            f"model_arguments() return {lacking[0]}."
        )
    return {name: plain_fact(name, value) for name, value in facts.items()}


def _groups_with(config: Config, fact: str) -> list[str]:
    """Return the groups that refer to a fact."""
    return list(dict.fromkeys(path[0] for path in find_from_data(config) if path[-1] == fact))


def build_task(config: Config, facts: Mapping[str, Any]) -> LightningModule:
    """Build the task and the groups it takes; random weights are drawn from torch's global generator.

    Args:
        config: checked; of a training run also resolved by `lab_engine.training.speed.resolve_auto`.
        facts: see `facts_of`.

    Raises:
        UserError: a part cannot be built, or the task is not a LightningModule or does not fit the facts.
    """
    node, model = config["task"], config.get("model")
    if isinstance(model, dict):
        config = {**config, "model": {key: value for key, value in model.items() if key not in OF_MODEL}}
    parts = build_taken(config, "task", facts)
    started_from = _prepare(parts["model"], model) if isinstance(parts.get("model"), nn.Module) and model else ""
    speed = config.get("speed", {})
    if speed.get("compile") is not None:
        compile_forward(parts["model"], speed["compile"])
    arguments, of_data = split_facts({key: value for key, value in node.items() if key not in TASK_KEYS}, facts)
    made = build(arguments, "task", **of_data, **parts)
    if not isinstance(made, LightningModule):
        raise UserError(f"task ({node['_target_']}) makes a {type(made).__name__}: give a LightningModule.")
    if speed.get("memory_format", "contiguous") != "contiguous":
        nn.Module.to(made, memory_format=MEMORY_FORMATS[speed["memory_format"]])
    if isinstance(made, ChecksFacts):
        made.check_facts(facts)
    made.started_from = started_from  # type: ignore[assignment]
    return made


def _prepare(network: nn.Module, node: Mapping[str, Any]) -> str:
    """Load and freeze weights as the configuration says; return what was loaded, in words."""
    started_from = load_pretrained(network, node["init_from"]) if node.get("init_from") else ""
    if node.get("freeze"):
        freeze(network, node["freeze"])
    return started_from


def _cluster() -> ClusterEnvironment:
    """Return how this process was started; Lightning's own detection starts MPI where mpi4py is installed."""
    if launched_by_slurm():
        # SLURM requeues a job by itself, and it resumes from last.ckpt; Lightning would save at any point of an epoch
        return SLURMEnvironment(auto_requeue=False)
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def build_trainer(
    config: Config,
    data: LightningDataModule,
    callbacks: list[Callback],
    loggers: list[Any],
    metadata: Mapping[str, Any] | None = None,
) -> Trainer:
    """Build the Trainer, and set PyTorch's number of threads and float32 precision for this process.

    Lightning's own progress bar and tables are off.

    Args:
        config: checked and resolved.
        data: the data to train on.
        callbacks: in the order in which Lightning calls them.
        loggers: may be empty.
        metadata: written into every checkpoint, see `lab_engine.artifacts.checkpoint.metadata_of`.

    Raises:
        UserError: the configuration asks for a GPU, and PyTorch finds none.
    """
    settings = config["trainer"]
    if settings["accelerator"] in ("gpu", "cuda") and not has_gpu():
        raise UserError(
            f"trainer.accelerator={settings['accelerator']} needs a GPU, and PyTorch finds none here.\n"
            "Use trainer.accelerator=auto, and speed=auto in place of speed=gpu."
        )
    processes = device_count(settings) * settings["num_nodes"]
    values = data.values_per_batch() if isinstance(data, HasBatchValues) else None
    torch.set_num_threads(config["threads"] or (cores() if values is None else threads_for(values)))
    precision = config.get("speed", {}).get("matmul_precision", "highest")
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"  # PyTorch's default for convolutions is True
    # With deterministic algorithms PyTorch would fill new memory, which takes time. It matters only to an operation
    # that reads memory before it is written, which is a fault in any case.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    strategy = settings["strategy"]
    if isinstance(strategy, dict):
        strategy = build(strategy, "trainer.strategy")
    elif processes > 1 and strategy in ("auto", "ddp"):  # Lightning's own timeout is half an hour
        strategy = DDPStrategy(timeout=timedelta(minutes=MINUTES_TO_WAIT))
    trainer: Trainer = build(
        settings,
        "trainer",
        strategy=strategy,
        callbacks=callbacks,
        deterministic=is_deterministic(config),
        logger=loggers or False,
        plugins=[AtomicCheckpointIO(config["folder"], metadata), _cluster()],
        default_root_dir=config["folder"],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    # `lab_engine.base.signals` handles signals; Lightning's handler would call the other devices at any point of a step
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if config.get("lean_loop"):  # a key of training only
        use_lean_loop(trainer)
    return trainer
