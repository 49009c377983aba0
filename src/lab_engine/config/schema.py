"""Every key of the configuration: its type, its unit, what is allowed.

The text of each `Field` is what a user reads when a value is refused, so it says what would be accepted. Groups that
users extend (model, optimizer, scheduler, augment, callbacks, logger, and data sources of their own) may hold keys
that are not listed here; Hydra has already refused those that no file of the group names.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from lab_engine.base.errors import UserError
from lab_engine.base.wording import meant, shown
from lab_engine.config.command_line import SET_BY_THE_PROGRAM
from lab_engine.config.facts import find_from_data


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _absolute_database(uri: str) -> str:
    """Return the address with an absolute path, if it is of SQLite: a run may be resumed from another folder."""
    kind, found, path = uri.partition("sqlite:///")
    return f"{found}{_absolute(path)}" if found and not kind else uri


def _absolute_images(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError
    if given == "-":
        return given
    return str(Path(os.path.expanduser(given)).absolute())  # noqa: PTH111 - Path's own refuses a name such as ~x


def _not_of_test(metric: str) -> str:
    if metric.startswith("test/"):
        raise ValueError
    return metric


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
Images = Annotated[str, PlainValidator(_absolute_images)]  # pydantic's own takes no names that are not UTF-8
Fraction = Annotated[float, Field(gt=0, lt=1)]
LARGEST = 2**32 - 1
"""Of whole numbers: the largest seed that NumPy takes, and more than there is of anything else."""
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Natural = Annotated[int, Field(ge=0, le=LARGEST)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Level = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)] | Positive
ABSENT: Any = None
"""Default of a key that need not be there; null is no value of it unless its type says so."""
CONTRADICTION = "contradiction"
METRIC = "metric"
"""Marks a text that is the name of one."""
SINGLE_GROUPS = ("task", "data", "model", "optimizer", "scheduler", "loss", "test_time")
"""Groups of one option, which is a target."""
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile that use them on a GPU
SUFFIX = {"onnx": ".onnx", "torch": ".pt2"}  # of exported files
SPREAD = "a number x, 0 or more (factors from 1 - x to 1 + x, none below 0, change the"
LIMIT = "a fraction of the epoch with a point, above 0.0 and up to 1.0, or a whole number of batches, at least 1"


class Closed(BaseModel):
    """A part with exactly the keys listed; `strict` keeps "4", 4.0 and true from passing as 4."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Open(BaseModel):
    """A part that users extend."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Target(Open):
    """Something to make: a class or function, and its arguments."""

    target: str = Field(alias="_target_", min_length=1, description="a class or function as package.module.Name")


Names = Annotated[list[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]], Field()]


class Task(Target):
    """What is learned: a LightningModule."""

    takes: Names = Field([], description="a list of keys of the configuration, such as [model,optimizer]")
    monitor: Annotated[str, Field(pattern="^(val|train)/.")] = Field(
        description="a metric of validation, such as val/loss (the test set must choose nothing)"
    )
    mode: Literal["min", "max"] = Field(description="min or max (whether less or more of task.monitor is better)")
    directions: dict[str, Literal["min", "max"]] = Field(
        {}, description="metrics without their stage and min or max, such as {loss: min}"
    )
    percent: list[str] = Field([], description="a list of metrics without their stage, such as [accuracy]")


class Loading(BaseModel):
    """The keys of an ImageDataModule; other data modules may have them, too."""

    batch_size: Positive = Field(
        ABSENT, description="a whole number, at least 1 (images in a training batch on each device)"
    )
    shuffle: bool = Field(ABSENT, description="true or false (train images in a new order each epoch)")
    eval_batch_size: Positive = Field(
        ABSENT, description="a whole number, at least 1 (images in a validation or test batch on each device)"
    )
    validation: Fraction = Field(
        ABSENT, description="a fraction above 0 and below 1 (of each class's train images, to validate on)"
    )
    split_seed: Natural = Field(ABSENT, description="a whole number, 0 or more (chooses the validation images)")
    mean: float | list[float] = Field(ABSENT, description="a number, or one a channel, on the scale 0 to 1")
    std: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]] = Field(
        ABSENT, description="a number above 0, or one a channel, on the scale 0 to 1"
    )
    on_device: bool | Literal["auto"] = Field(
        ABSENT, description="true, false or auto (all images stay in the memory of the device that computes)"
    )


class Data(Target, Loading):
    """What is learned from: a LightningDataModule."""

    takes: Names = Field([], description="a list of keys of the configuration, such as [augment,seed]")
    gives: Names = Field([], description="a list of what from_data may stand for, such as [num_classes]")
    root: AbsolutePath = Field(ABSENT, description="a folder")
    cache: AbsolutePath = Field(ABSENT, description="a folder for the decoded images")
    mirrors: Annotated[list[str], Field(min_length=1)] = Field(
        ABSENT, description="a list of addresses of the archive, [https://…,…], tried in order"
    )
    channels: Literal[1, 3] = Field(ABSENT, description="1 (grey) or 3 (RGB)")
    image_size: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        ABSENT, description="[height,width] in pixels, whole numbers, at least 1"
    )
    resize: Literal["stretch", "crop", "pad"] = Field(ABSENT, description="stretch, crop or pad")
    on_bad_file: Literal["error", "skip"] = Field(ABSENT, description="error or skip")
    test_fraction: Fraction = Field(
        ABSENT, description="a fraction above 0 and below 1 (of each class, for the test set)"
    )
    test_seed: Natural = Field(ABSENT, description="a whole number, 0 or more (chooses the test images)")


class Optimizer(Target):
    """Any optimizer of torch.optim or the user's own."""

    lr: Annotated[float, Field(gt=0)] = Field(ABSENT, description="a number above 0 (learning rate)")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(ABSENT, description="a number from 0 to below 1")
    weight_decay: Annotated[float, Field(ge=0)] = Field(ABSENT, description="a number, 0 or more")
    groups: dict[str, dict[str, float | bool]] = Field(
        ABSENT, description="settings of groups of parameters by a pattern of their names, such as {'fc3.*': {lr: 0.1}}"
    )
    vector_lr: Annotated[float, Field(gt=0)] = Field(
        ABSENT, description="a number above 0 (learning rate of biases, as a fraction of lr)"
    )


class Loss(Target):
    """Any loss of torch.nn or the user's own, of logits and labels."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="a number from 0 to below 1 (share of the probability that goes to all classes alike)"
    )


class Watcher(Target):
    """A callback, which may watch a metric: any of lightning.pytorch.callbacks or the user's own."""

    monitor: str = Field(ABSENT, description="a metric to watch, such as val/accuracy")
    mode: Literal["min", "max"] = Field(
        ABSENT, description="min or max (whether little of the metric is good, or much)"
    )


class Scheduler(Target):
    """Any learning-rate scheduler of torch.optim or the user's own."""

    interval: Literal["step", "epoch"] = Field(description="step or epoch (when the learning rate moves)")
    pct_start: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.3, description="a number above 0 and below 1 (fraction of the run on the way up)"
    )
    monitor: Annotated[str, METRIC] = Field(ABSENT, description="a metric to watch, such as val/loss")
    mode: Literal["min", "max"] | None = Field(
        None, description="min or max (whether little of the metric is good, or much)"
    )


class Augment(Target):
    """A random change to training images: the lab's or the user's own."""

    pixels: Natural = Field(ABSENT, description="a whole number, 0 or more (the largest move, in pixels)")
    side: Positive = Field(ABSENT, description="a whole number, at least 1 (pixels of the hidden square's side)")
    fill: Level | Annotated[list[Level], Field(min_length=1)] = Field(
        ABSENT, description="a number from 0 to 1, or one a channel (what the hidden square is set to)"
    )
    brightness: Spread = Field(ABSENT, description=f"{SPREAD} brightness)")
    contrast: Spread = Field(ABSENT, description=f"{SPREAD} contrast)")
    saturation: Spread = Field(ABSENT, description=f"{SPREAD} saturation)")


class Logger(Target):
    """Where curves go: any logger of lightning.pytorch.loggers or the user's own."""

    tracking_uri: Annotated[str, AfterValidator(_absolute_database)] = Field(
        ABSENT, description="sqlite:///FILE, made where there is none, or http://HOST:PORT"
    )


class Trainer(Target):
    """Arguments of lightning.pytorch.Trainer."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = Field(description="auto, cpu, gpu, mps or tpu")
    devices: Positive | Annotated[list[Natural], Field(min_length=1)] | Literal["auto"] = Field(
        description="a whole number, at least 1 (how many devices), a list such as [0,2] (which ones), or auto"
    )
    num_nodes: Positive = Field(description="a whole number, at least 1 (machines, each with trainer.devices)")
    strategy: str | Target = Field(
        description="the name of a Lightning strategy, such as auto, ddp or fsdp, or one with its _target_ and options"
    )
    precision: Literal[
        "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "transformer-engine", "auto"
    ] = Field(description="32-true, bf16-mixed, 16-mixed, bf16-true, 16-true, 64-true, transformer-engine or auto")
    max_epochs: Positive = Field(description="a whole number, at least 1 (passes over the training images)")
    max_steps: Positive | Literal[-1] = Field(
        description="a whole number, at least 1 (optimizer steps to stop after), or -1 for no limit"
    )
    limit_train_batches: Share = Field(description=LIMIT)
    limit_val_batches: Share = Field(description=LIMIT)
    limit_test_batches: Share = Field(description=LIMIT)
    check_val_every_n_epoch: Positive = Field(description="a whole number, at least 1 (epochs between validations)")
    log_every_n_steps: Positive = Field(
        description="a whole number, at least 1 (steps between reports of the running loss)"
    )
    accumulate_grad_batches: Positive = Field(description="a whole number, at least 1 (batches to an optimizer step)")
    gradient_clip_val: Annotated[float, Field(gt=0)] | None = Field(description="a number above 0, or null")
    profiler: Target | None = Field(description="a Lightning profiler with its _target_, or null")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if isinstance(self.devices, list) and len(set(self.devices)) < len(self.devices):
            raise PydanticCustomError(
                CONTRADICTION, "trainer.devices={devices} is refused: give each once", {"devices": str(self.devices)}
            )
        if isinstance(self.devices, list) and self.accelerator == "cpu":
            raise PydanticCustomError(
                CONTRADICTION,
                "trainer.devices={devices} cannot go with trainer.accelerator=cpu, which is one device: give how many "
                "processes, trainer.devices={count}",
                {"devices": str(self.devices), "count": len(self.devices)},
            )
        return self


class Speed(Closed):
    """What makes a run fast and may change its numbers a little."""

    memory_format: Literal["contiguous", "channels_last", "auto"] = Field(
        description="contiguous, channels_last or auto (order of the weights' values in memory, which the layers' "
        "outputs follow)"
    )
    compile: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None = Field(
        description="default, reduce-overhead, max-autotune or max-autotune-no-cudagraphs (of torch.compile), or null"
    )
    matmul_precision: Literal["highest", "high", "medium", "auto"] = Field(
        description="highest, high (TF32), medium or auto (of float32 products and convolutions on a GPU, see "
        "torch.set_float32_matmul_precision)"
    )
    onednn: bool | Literal["auto"] = Field(
        description="true, false or auto (a CPU computes convolutions of training steps with Intel's library oneDNN)"
    )
    data_on_device: bool | Literal["auto"] = Field(
        description="true, false or auto (all images stay in the memory of the device that computes)"
    )


class Views(Target):
    """What else a trained network is shown to judge an image; the user's own have other keys."""

    flip: bool = Field(ABSENT, description="true or false (also show the mirror image)")
    shift: Natural = Field(ABSENT, description="a whole number, 0 or more (pixels the image is also moved by)")


TestTime = Annotated[Views | None, BeforeValidator(lambda value: value or None)]


class Config(Closed):
    """What every command shares: the two keys that the program sets itself."""

    folder: str
    choices: dict[str, Any]
    words: list[str] = []
    config_dir: str | None = None


class RunConfig(Config):
    """What runs a task over data."""

    task: Task
    data: Data
    model: Target = ABSENT
    optimizer: Optimizer = ABSENT
    scheduler: Annotated[Scheduler | None, BeforeValidator(lambda value: value or None)] = ABSENT
    loss: Loss = ABSENT
    test_time: TestTime = ABSENT
    augment: dict[str, Augment | None] = Field(ABSENT, description="named transformations, each with a _target_")
    trainer: Trainer
    threads: Threads | None = Field(
        description="a whole number, 1 to 1024 (CPU threads of each process), or null (what a batch can keep busy)"
    )
    deterministic: bool | None = Field(
        None, description="true, false, or null (deterministic algorithms only; null: on a CPU, and not on a GPU)"
    )

    @model_validator(mode="after")
    def _keep_one_place_for_determinism(self) -> Self:
        more = self.trainer.model_extra or {}
        if "deterministic" in more:
            raise PydanticCustomError(
                CONTRADICTION,
                "trainer.deterministic={given} is refused: give deterministic=true, false or null, without trainer",
                {"given": str(more["deterministic"])},
            )
        if self.deterministic and more.get("benchmark"):
            raise PydanticCustomError(
                CONTRADICTION,
                "trainer.benchmark=true cannot go with deterministic=true: it chooses algorithms by their times, which "
                "are never the same twice",
            )
        return self


class TrainConfig(RunConfig):
    """`python -m my_lab.train`."""

    seed: Natural = Field(description="a whole number, 0 or more (of weights and order of images)")
    lean_loop: bool = Field(True, description="true or false (false: Lightning's own loop over the batches)")
    report: bool = Field(True, description="true or false (leave report.html)")
    speed: Speed
    callbacks: dict[str, Watcher | None] = Field(description="named callbacks, each with a _target_")
    logger: dict[str, Logger | None] = Field(description="named loggers, each with a _target_")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        trainer = self.trainer
        clips = trainer.gradient_clip_val is not None and trainer.precision.endswith(("mixed", "auto"))
        if clips and getattr(self.optimizer, "fused", False):
            raise PydanticCustomError(
                CONTRADICTION,
                "trainer.gradient_clip_val with trainer.precision={precision} cannot go with a fused optimizer: "
                "add optimizer.fused=false",
                {"precision": trainer.precision},
            )
        if self.speed.compile in CUDA_GRAPHS and trainer.accumulate_grad_batches > 1:
            raise PydanticCustomError(
                CONTRADICTION,
                "speed.compile={mode} cannot go with trainer.accumulate_grad_batches={batches}: gradients would lie "
                "where the next CUDA graph writes; give speed.compile=default",
                {"mode": self.speed.compile, "batches": trainer.accumulate_grad_batches},
            )
        if trainer.check_val_every_n_epoch > trainer.max_epochs:
            raise PydanticCustomError(
                CONTRADICTION,
                "trainer.check_val_every_n_epoch={every} is more than trainer.max_epochs={epochs}: there would be no "
                "validation to choose a checkpoint by",
                {"every": trainer.check_val_every_n_epoch, "epochs": trainer.max_epochs},
            )
        return self


class EvaluateConfig(RunConfig):
    """`python -m my_lab.evaluate`, once the checkpoint has told its task and data."""

    checkpoint: AbsolutePath = Field(description="the path of a .ckpt file")


class OfCheckpoint(Config):
    """What a command that needs a trained task, and no data, learns from its checkpoint."""

    checkpoint: AbsolutePath = Field(description="the path of a .ckpt file")
    task: Task
    model: Target = ABSENT
    optimizer: Optimizer = ABSENT
    scheduler: Annotated[Scheduler | None, BeforeValidator(lambda value: value or None)] = ABSENT
    loss: Loss = ABSENT
    test_time: TestTime = ABSENT


class PredictConfig(OfCheckpoint):
    """`python -m my_lab.predict`, once the checkpoint has told its task."""

    images: Images | Annotated[list[Images], Field(min_length=1)] = Field(
        description="a file, a folder, a pattern such as 'photos/*.png', a list [a.png,b.png], or - (standard input)"
    )
    top_k: Positive = Field(description="a whole number, at least 1 (classes shown of each image)")
    batch_size: Positive = Field(description="a whole number, at least 1 (images that the network sees at once)")
    device: Literal["auto", "cpu", "gpu"] = Field(description="auto, cpu or gpu")
    threads: Threads | None = Field(
        description="a whole number, 1 to 1024 (CPU threads), or null (as many as are worth it)"
    )
    pictures: Annotated[int, Field(ge=0, le=1000)] = Field(
        description="a whole number, 0 to 1000 (images in the table and the picture, the first ones)"
    )
    explain: bool = Field(description="true or false (also draw what speaks for each class)")
    method: Literal["auto", "grad_cam", "saliency"] = Field(description="auto, grad_cam or saliency")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.explain and not self.pictures:
            raise PydanticCustomError(
                CONTRADICTION, "explain=true is refused with pictures=0: give how many images to explain"
            )
        return self


class Launcher(Target):
    """Where the jobs of a sweep run."""

    slots: Positive | None = Field(
        None, description="a whole number, at least 1 (jobs at once), or null (what the machine serves)"
    )
    memory_gb: Annotated[float, Field(gt=0)] | None = Field(None, description="a number above 0 (10^9 bytes for a job)")
    timeout_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None, description="a number above 0 (minutes until a job is stopped), or null (never)"
    )
    partition: str | None = Field(None, description="the name of a partition, or null for the cluster's default")
    account: str | None = Field(None, description="the name of an account to charge, or null")
    qos: str | None = Field(None, description="the name of a quality of service, or null")
    cpus_per_task: Positive = Field(
        1, description="a whole number, at least 1 (CPU cores of each process, one a device)"
    )
    options: dict[str, str | int | float | bool | None] = Field(
        {}, description="sbatch's options by their long names, such as {exclusive: true, gres: 'gpu:a100:1'}"
    )
    seconds_between_looks: Annotated[float, Field(gt=0)] = Field(
        5.0, description="a number above 0 (seconds between looks at SLURM's queue)"
    )


class Sweeper(Closed):
    """Which jobs a sweep has."""

    metric: Annotated[str, Field(pattern="^val/")] | None = Field(
        description="a metric of validation, such as val/loss (the test set must choose nothing)"
    )
    direction: Literal["maximize", "minimize"] = Field(description="maximize or minimize")


class SweepConfig(Closed):
    """What concerns a sweep as a whole."""

    launcher: Launcher
    sweeper: Sweeper


class Search(Sweeper):
    """Which jobs a search has; it finds them one after the other."""

    trials: Positive = Field(description="a whole number, at least 1 (trials of the whole study)")
    seeds: Annotated[list[Natural], Field(min_length=1)] | None = Field(
        description="a list of whole numbers such as [1,2,3], each once (a trial is a job for each), or null"
    )
    sampler: Target = Field(description="a sampler of Optuna with its _target_")
    pruner: Annotated[Target | None, BeforeValidator(lambda value: value or None)] = Field(
        description="a pruner of Optuna with its _target_, or null"
    )
    storage: Annotated[str, Field(pattern="://")] | None = Field(
        description="the address of a database, such as postgresql+psycopg://USER@HOST/NAME, or null"
    )
    study: Annotated[str, Field(min_length=1)] | None = Field(description="a name, or null (the sweep folder's)")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise PydanticCustomError(
                CONTRADICTION, "sweeper.seeds={seeds} is refused: give each once", {"seeds": str(self.seeds)}
            )
        return self


class SearchConfig(SweepConfig):
    """What concerns a search as a whole."""

    sweeper: Search

    @model_validator(mode="after")
    def _refuse_to_ask_for_all_at_once(self) -> Self:
        if self.launcher.slots is None and self.launcher.target.endswith(".Slurm"):
            raise PydanticCustomError(
                CONTRADICTION,
                "launcher=slurm with a search needs launcher.slots=NUMBER, jobs at once: else all trials would be "
                "chosen before the first has ended",
            )
        return self


class AnatomyConfig(Config):
    """`python -m my_lab.anatomy`."""

    model: Target
    in_channels: Positive = Field(description="a whole number, at least 1 (channels of the images)")
    image_size: Annotated[list[Positive], Field(min_length=2, max_length=2)] = Field(
        description="[height,width] in pixels, whole numbers, at least 1"
    )
    num_classes: Annotated[int, Field(ge=2)] = Field(description="a whole number, at least 2")
    gradients: bool = Field(description="true or false (run a step and show its gradients)")
    format: Literal["table", "json"] = Field(description="table or json")
    seed: Natural = Field(description="a whole number, 0 or more (of the weights and the random images)")


class ExportConfig(OfCheckpoint):
    """`python -m my_lab.export`, once the checkpoint has told its task."""

    format: Literal["onnx", "torch"] = Field(description="onnx or torch (a .pt2 file of torch.export)")
    input: Literal["uint8", "float"] | None = Field(
        description="uint8 (pixels 0 to 255), float (pixels 0.0 to 1.0), or null (as the task has it)"
    )
    opset: Annotated[int, Field(ge=18, le=23)] | None = Field(
        description="a whole number from 18 to 23 (of ONNX), or null (the newest of these)"
    )
    file: AbsolutePath | None = Field(description="a path to write to, or null (in the run folder)")

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if self.format != "onnx" and self.opset is not None:
            raise PydanticCustomError(
                CONTRADICTION, "opset={opset} is refused: it is of format=onnx only", {"opset": self.opset}
            )
        suffix = SUFFIX[self.format]
        if self.file and not self.file.endswith(suffix):
            raise PydanticCustomError(
                CONTRADICTION,
                "file={file} is refused: give a path that ends in {suffix}, for format={format}",
                {"file": self.file, "suffix": suffix, "format": self.format},
            )
        return self


class SweepReportConfig(Config):
    """`python -m my_lab.sweep_report`."""

    sweep: AbsolutePath = Field(description="the folder of a sweep")
    metric: Annotated[str, AfterValidator(_not_of_test)] | None = Field(
        description="a metric of metrics.json such as val/loss (the test set must not choose), or null (what the task "
        "monitors)"
    )
    mode: Literal["max", "min"] | None = Field(
        description="max or min (whether more or less of the metric is better), or null (as the task says)"
    )


def check(config: dict[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """Return `config` with paths made absolute, or refuse it.

    Raises:
        UserError: key, value, what is allowed; a line or two, of the first wrong value or the first two.
    """
    try:
        return schema.model_validate(config).model_dump(by_alias=True, exclude_unset=True)
    except ValidationError as error:
        described = dict(_descriptions(schema))
        lines = [line for problem in error.errors() for line in _explain(config, schema, described, problem)]
        raise UserError("\n".join(list(dict.fromkeys(lines))[:2])) from error


def check_with_taken(config: dict[str, Any], schema: type[BaseModel]) -> dict[str, Any]:
    """Check as `check` does, where task and data may take keys of the configuration that the schema does not know.

    Raises:
        UserError: see `check`; or a `from_data` that the data do not give, or a key that is taken and not there.
    """
    owners = {name: node for name in ("task", "data") if isinstance(node := config.get(name), dict)}
    taken = {name: owner for owner, node in owners.items() for name in node.get("takes") or () if type(name) is str}
    foreign = {key: config[key] for key in taken if key in config and key not in schema.model_fields}
    checked = check({key: value for key, value in config.items() if key not in foreign}, schema) | foreign
    if "speed" in checked:
        _refuse_useless(checked, taken)
    if "data" in owners:  # commands that need no data take from a checkpoint what it gave
        _refuse_lacking(checked, taken)
    return checked


def _refuse_useless(config: dict[str, Any], taken: dict[str, str]) -> None:
    """Refuse settings of `speed` that this task or these data do not read."""
    speed, choices = config["speed"], config["choices"]
    if speed["compile"] is not None and taken.get("model") != "task":
        raise UserError(
            f"speed.compile={speed['compile']} is refused: task={choices.get('task')} takes no model, which is what is "
            "compiled\nCompile in the task, or leave speed.compile at null."
        )
    if speed["data_on_device"] is True and "on_device" not in config["data"]:
        raise UserError(
            f"speed.data_on_device=true is refused: data={choices.get('data')} has no key on_device to read it\n"
            "Leave speed.data_on_device at false."
        )


def _refuse_lacking(config: dict[str, Any], taken: dict[str, str]) -> None:
    for name, owner in taken.items():
        if name not in config and name != "seed":
            option = config["choices"].get(owner, "")
            raise UserError(
                f"{owner}={option} takes {name}, which is not chosen.\n"
                f"Choose an option of the group with +{name}=OPTION, or take it out of {owner}.takes."
            )
    gives, option = config["data"].get("gives", []), config["choices"].get("data", "")
    filled = {"task", *(name for name, owner in taken.items() if owner == "task")}
    for group, part in config.items():
        for path in () if group in SET_BY_THE_PROGRAM else find_from_data(part):
            key = ".".join((group, *path))
            if group not in filled or not path:
                raise UserError(
                    f"{key}=from_data is refused: only keys of the task and of what it takes can leave their value "
                    "to the data.\nWrite the value in its place."
                )
            if path[-1] not in gives:
                raise UserError(
                    f"{key}=from_data is refused: data={option} does not give {path[-1]}.\n"
                    f"It gives: {', '.join(gives) or 'nothing (data.gives is empty)'}. Write the value in its place."
                )


def _explain(
    config: dict[str, Any], schema: type[BaseModel], described: dict[str, str], problem: ErrorDetails
) -> list[str]:
    """A line or two: KEY=VALUE and what is allowed there."""
    key: list[str] = []
    value: Any = config
    for part in problem["loc"]:  # where a value may have several forms, the location names the form behind the key
        if not isinstance(value, dict) or part not in value:
            break
        key.append(str(part))
        value = value[part]
    name, kind = ".".join(key), problem["type"]
    if kind == CONTRADICTION:
        return problem["msg"].splitlines()
    if kind == "missing":
        return [_missing(key, value, described, str(problem["loc"][-1]))]
    given = f"{name}={shown(value)} is refused"
    if kind == "extra_forbidden":
        siblings = [each for each in _keys(schema, key[:-1]) if each not in SET_BY_THE_PROGRAM]
        where = f"keys of {'.'.join(key[:-1])}" if key[1:] else "keys"
        return [f"{given}: there is no such key{meant(key[-1], siblings)}", f"{where}: {', '.join(siblings)}"]
    of_any = ".".join([*key[:-2], "*", *key[-1:]])  # of a part that the user has named
    allowed = described.get(name) or described.get(of_any)
    if allowed is None and kind in ("model_type", "dict_type"):
        allowed = "an option of the group, or keys with their values"
    if kind == "less_than_equal" and problem["ctx"]["le"] == LARGEST:
        allowed = f"{allowed or 'a number'}, at most {LARGEST}"
    return [f"{given}: give {allowed or problem['msg'].removeprefix('Input should be ')}"]


def _missing(key: Sequence[str], value: Any, described: dict[str, str], lacks: str) -> str:
    if key and key[0] in SINGLE_GROUPS and "_target_" not in value:
        removed = " ".join(f"~{key[0]}.{own}" for own in value)
        if value:  # an experiment has set keys of another option, or a file of the user's own is not complete
            return (
                f"{key[0]} has {', '.join(map(str, value))}, but no _target_: add it to the file of the option; "
                f"or if these are of another option, remove them with {removed}"
            )
    name = ".".join([*key, lacks])
    if allowed := described.get(name):
        return f"{name} is missing: give {allowed}"
    return f"{name} is missing: choose one with {name}=OPTION" if not key else f"{name} is missing: it must be given"


def _keys(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    """Return the keys that are known below `path`."""
    for part in path:
        field = next((field for name, field in schema.model_fields.items() if part in (name, field.alias)), None)
        forms = [] if field is None else [field.annotation, *get_args(field.annotation)]
        schema = next((form for form in forms if isinstance(form, type) and issubclass(form, BaseModel)), BaseModel)
    return [field.alias or name for name, field in schema.model_fields.items()]


def _descriptions(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in schema.model_fields.items():
        key = prefix + (field.alias or name)
        if field.description:
            yield key, field.description
        yield from _of_parts(field.annotation, f"{key}.")


def _of_parts(form: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(form, type) and issubclass(form, BaseModel):
        yield from _descriptions(form, prefix)
    elif get_origin(form) is dict:
        yield from _of_parts(get_args(form)[1], f"{prefix}*.")
    else:
        for part in get_args(form):
            yield from _of_parts(part, prefix)
