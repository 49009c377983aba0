"""A configuration from a run folder trains a network there, and can do nothing else."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

from lenet_lab.command import config_folder
from lenet_lab.compose import compose
from lenet_lab.errors import UserError
from lenet_lab.trust import LIBRARIES, OWN, refuse_foreign_targets

SOURCE = Path("there/config.yaml")
FOLDER = "/runs/there"
GROUPS = ("augment", "callbacks", "data", "debug", "experiment", "logger", "loss", "model", "optimizer", "scheduler")
GROUPS += ("speed", "test_time", "trainer")
REFUSED_NAMES = [
    # code, whatever the package
    *("os.system", "subprocess.run", "builtins.eval", "builtins.exec", "importlib.import_module", "runpy.run_path"),
    *("pickle.load", "shutil.rmtree", "pathlib.Path.touch", "hydra.utils.get_method", "hydra.utils.call"),
    *("webbrowser.open", "code.interact", "ctypes.CDLL", "numpy.load", "yaml.unsafe_load", "joblib.load"),
    # of the libraries of the list
    *("torch.load", "torch.save", "torch.hub.load", "torch.hub.download_url_to_file", "torch.jit.load"),
    *("torch.package.PackageImporter", "torch.ops.load_library", "torch.classes.load_library", "torch.compile"),
    *("torch.utils.cpp_extension.load", "torch.utils.cpp_extension.load_inline", "torch.utils.data.DataLoader"),
    *("torch._dynamo.optimize", "torch._C._import_py_object", "torch.serialization.load", "torch.export.load"),
    *("torch.utils.model_zoo.load_url", "torch.distributed.run.main", "torch.multiprocessing.spawn"),
    *("torch.fx.graph_module.GraphModule", "torch.jit.ScriptModule", "torch.Tensor", "torch.fx.Interpreter"),
    *(
        "torch.nn.init.uniform_",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.modules.module.register_module_forward_hook",
    ),
    *("torchvision.models.resnet18", "torchvision.models.get_model", "torchvision.datasets.utils.download_url"),
    *(
        "torchvision.io.read_image",
        "torchvision.datasets.CIFAR10",
        "torchvision.models.detection.fasterrcnn_resnet50_fpn",
    ),
    *("torchmetrics.text.BERTScore", "torchmetrics.text.bert.BERTScore", "torchmetrics.multimodal.CLIPScore"),
    *("torchmetrics.image.fid.FrechetInceptionDistance", "torchmetrics.utilities.imports.RequirementCache"),
    *("lightning.pytorch.cli.LightningCLI", "lightning.fabric.utilities.cloud_io._load", "lightning.Fabric"),
    *("lightning.pytorch.strategies.launchers.subprocess_script._SubprocessScriptLauncher",),
    *("lightning.pytorch.loggers.WandbLogger", "lightning.pytorch.loggers.CometLogger"),
    *("lightning.pytorch.loggers.MLFlowLogger", "lightning.pytorch.trainer.trainer.Trainer.fit"),
    # of this package
    *("{own}.command.run_command", "{own}.whole_file.write_whole", "{own}.data.download.download"),
    *("{own}.processes.run_on_devices", "{own}.checkpoint_io.write_checkpoint", "{own}.instantiate.build"),
    *("{own}.sweeps.local.Local", "{own}.sweeps.slurm.Slurm", "{own}.data.store.StoreWriter"),
    # through a module of the list into another one
    *("torch.os.system", "torch.sys.modules.clear", "torch.nn.os.system", "torch.nn.init.math.sqrt"),
    *("torch.optim.optimizer.functools.partial", "torch.nn.modules.module.functools.partial"),
    *("torch.nn.functional.importlib.import_module", "torch.nn.functional.handle_torch_function"),
    *("lightning.pytorch.trainer.trainer.os.system", "lightning.pytorch.callbacks.model_checkpoint.os.system"),
    *("lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree", "lightning.pytorch.loggers.wandb.WandbLogger"),
    *("lightning.pytorch.trainer.trainer.torch.load", "lightning.pytorch.profilers.profiler.Path"),
    *("torchvision.models._api.load_state_dict_from_url", "torchvision.models.resnet.nn.init.os.system"),
    *("{own}.command.os.system", "{own}.command.hydra.utils.call", "{own}.download.os.system"),
    *("{own}.trust.importlib.import_module", "{own}.environment.subprocess.run", "{own}.data.cifar10.tarfile.open"),
    # attributes that lead anywhere
    *("torch.nn.Module.__subclasses__", "torch.__builtins__.eval", "torch.nn.Linear.__init__.__globals__.x"),
    *("torch.nn.Linear.load_state_dict", "torch.nn.Module.apply", "torch.nn.Module.mro", "torch.nn.functional.partial"),
    *("{own}.models.lenet.LeNet.forward", "{own}.command.Config", "{own}.errors.UserError"),
    # no names at all
    *("", ".", "torch", "torch.", ".torch.nn.Linear", "torch..nn.Linear", "torch.nn.Linear ", "torch.nn.Linear\n"),
    *(
        "torch.nn.Linear()",
        "torch/nn",
        "torch.nn.Line\u0430r",
        "torchx.nn.Linear",
        "torch_nn.Linear",
        "тorch.nn.Linear",
    ),
    *("torch.nn.Missing", "torch.nn.missing.Missing", "__main__.Net", "__builtin__.eval", "${oc.env:HOME}"),
]
OPTIONS = [file for file in sorted(config_folder().glob("*/*.yaml")) if file.parent.name in GROUPS]
EVERYWHERE = [
    *(("model",), ("optimizer",), ("scheduler",), ("loss",), ("data",), ("test_time",), ("trainer",)),
    *(("augment", "mine"), ("callbacks", "mine"), ("logger", "mine"), ("trainer", "profiler")),
    *(("model", "hidden"), ("callbacks", "checkpoint", "mode"), ("optimizer", "deep"), ("speed",), ("choices", "a")),
]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """As a run of this package leaves it."""
    chosen = ["data=digits", "scheduler=one_cycle", "augment=[shift,cutout]", "test_time=flip", "debug=profiler"]
    return compose(*chosen, "logger=[csv,tensorboard,mlflow,wandb]", "callbacks=histograms", folder=FOLDER)


def put(config: dict[str, Any], key: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy with `value` at `key`."""
    changed = copy.deepcopy(config)
    node = changed
    for name in key[:-1]:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    node[key[-1]] = value
    return changed


def refusal(config: dict[str, Any], *allow: str) -> str:
    with pytest.raises(UserError) as refused:
        refuse_foreign_targets(config, allow, SOURCE)
    text = str(refused.value)
    assert len(text.splitlines()) <= 2, text
    assert all(letter.isprintable() for letter in text.replace("\n", "")), text
    return text


def test_what_a_run_leaves_is_accepted(plain: dict[str, Any]) -> None:
    refuse_foreign_targets(plain, (), SOURCE)


@pytest.mark.parametrize("file", OPTIONS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_what_conf_has_is_accepted(file: Path) -> None:
    group = file.parent.name
    needed = ["data.root=images"] if file.stem == "image_folder" else []
    refuse_foreign_targets(compose(f"{group}={file.stem}", *needed, folder=FOLDER), (), SOURCE)


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_no_other_name_is_accepted_at_any_place(name: str, plain: dict[str, Any]) -> None:
    for key in EVERYWHERE:
        text = refusal(put(plain, key, {"_target_": name.replace("{own}", OWN)}), *LIBRARIES)
        assert ".".join((*key, "_target_")) in text
        assert str(SOURCE) in text


def test_a_name_is_judged_before_anything_is_imported(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "stranger.py").write_text(f"open({str(marker)!r}, 'w')\nclass Net: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = refusal(put(plain, ("model",), {"_target_": "stranger.Net"}))
    assert text.endswith("If you trust it, add allow=[stranger].")
    assert not marker.exists()
    assert "stranger" not in sys.modules


def test_what_the_user_allows_is_accepted_for_its_kind_only(
    plain: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "friend").mkdir()
    (tmp_path / "friend" / "__init__.py").touch()
    (tmp_path / "friend" / "nets.py").write_text(
        "import os\nfrom subprocess import run\nfrom torch import nn\n"
        "class Net(nn.Module): ...\nclass Odd: ...\ndef make(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for allow in ("friend", "friend.nets"):
        for accepted in ("Net", "make"):
            refuse_foreign_targets(put(plain, ("model",), {"_target_": f"friend.nets.{accepted}"}), [allow], SOURCE)
    assert "model must be a torch.nn.Module" in refusal(
        put(plain, ("model",), {"_target_": "friend.nets.Odd"}), "friend"
    )
    for hidden in ("os.system", "run", "nn.Linear.mro", "Net.__init__"):
        refusal(put(plain, ("model",), {"_target_": f"friend.nets.{hidden}"}), "friend")
    refusal(put(plain, ("model",), {"_target_": "friend.nets.Net"}), "frien", "friends", "friend.net")


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (("model",), "torch.nn.Identity"),
        (("model", "activation"), "torch.nn.ReLU"),
        (("loss",), "torch.nn.functional.cross_entropy"),
        (("optimizer",), "torch.optim.RMSprop"),
        (("augment", "mine"), "torchvision.transforms.v2.RandomInvert"),
        (("callbacks", "stop"), "lightning.pytorch.callbacks.EarlyStopping"),
        (("callbacks", "checkpoint", "train_time_interval"), "datetime.timedelta"),
        (("trainer",), "lightning.Trainer"),
    ],
)
def test_what_configurations_are_made_of_is_accepted(key: tuple[str, ...], target: str, plain: dict[str, Any]) -> None:
    refuse_foreign_targets(put(plain, key, {"_target_": target, "_partial_": True}), (), SOURCE)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (("optimizer",), "torch.nn.Linear"),
        (("model",), "torch.optim.SGD"),
        (("loss",), "torch.nn.functional.Tensor"),
        (("model",), "torch.nn.functional.cross_entropy"),
        (("scheduler",), "{own}.models.lenet.LeNet"),
        (("data",), "{own}.models.lenet.LeNet"),
        (("data",), "torch.nn.Linear"),
        (("test_time",), "{own}.data.digits.Digits"),
        (("callbacks", "a"), "lightning.pytorch.Trainer"),
        (("logger", "a"), "{own}.callbacks.dashboard.Dashboard"),
        (("trainer", "profiler"), "lightning.pytorch.callbacks.Timer"),
        (("model",), "datetime.timedelta"),
    ],
)
def test_a_class_of_another_kind_is_refused(key: tuple[str, ...], target: str, plain: dict[str, Any]) -> None:
    refusal(put(plain, key, {"_target_": target.replace("{own}", OWN)}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("model", "_args_"), "touch marker"),
        (("model", "_args_"), [{"_target_": "os.system", "_args_": ["touch marker"]}]),
        (("optimizer", "_partial_"), "os.system"),
        (("optimizer", "_partial_"), {"_target_": "os.system"}),
        (("model", "_convert_"), {"_target_": "os.system"}),
        (("model", "_recursive_"), 1),
        (("model", "_mode_"), "x"),
        (("speed", "_partial_"), True),
        (("model", "_target_"), ["os.system"]),
        (("model", "_target_"), {"_target_": "os.system"}),
        (("model", "_target_"), None),
        (("model", "hidden"), [[[{"a": [{"_target_": "os.system"}]}]]]),
        (("model", "hidden"), "${oc.env:HOME}"),
        (("seed",), "${oc.decode:1}"),
        (("choices", "model"), "a\\${b}"),
        (("model", "hidden"), Path("a")),
        (("model", "hidden"), (1, 2)),
        (("model", "hidden"), b"a"),
        (("model", 1), 1),
    ],
)
def test_what_else_hydra_would_act_on_is_refused(key: tuple[str, ...], value: Any, plain: dict[str, Any]) -> None:
    refusal(put(plain, key, value))


@pytest.mark.parametrize(
    "address", ["http://a.example/x", "HTTPS://a", "s3://a", "file:/a", "//a/b", "github::a", " ftp://a"]
)
@pytest.mark.parametrize(
    "key", [("data", "root"), ("logger", "csv", "save_dir"), ("callbacks", "a", "b"), ("model", "a")]
)
def test_an_address_is_refused_unless_allowed(key: tuple[str, ...], address: str, plain: dict[str, Any]) -> None:
    changed = put(plain, key, address)
    assert "data may be sent or fetched there" in refusal(changed)
    refuse_foreign_targets(changed, [address], SOURCE)


def test_addresses_of_conf_are_the_users_own() -> None:
    config = compose("data=cifar10", folder=FOLDER)
    refuse_foreign_targets(config, (), SOURCE)
    config["data"]["mirrors"] = [*config["data"]["mirrors"], "https://b.example/x"]
    assert "data.mirrors.1=https://b.example/x" in refusal(config)


@pytest.mark.parametrize(
    "server", ["databricks", "uc", "mlruns", "sqlite:///a", "sqlite:////a?vfs=x", "http://a.example"]
)
def test_a_server_for_curves_is_refused_unless_allowed(server: str, plain: dict[str, Any]) -> None:
    changed = put(plain, ("logger", "mlflow", "tracking_uri"), server)
    refusal(changed)
    refuse_foreign_targets(changed, [server], SOURCE)


@pytest.mark.parametrize(
    "changes",
    [
        *({"offline": False}, {"offline": None}, {"mode": "online"}, {"entity": "them"}),
        *({"settings": {"mode": "online"}}, {"settings": "x"}),
        {"_target_": "lightning.pytorch.loggers.wandb.WandbLogger", "offline": False},
    ],
)
def test_wandb_stays_offline_unless_allowed(changes: dict[str, Any], plain: dict[str, Any]) -> None:
    changed = put(plain, ("logger", "wandb"), plain["logger"]["wandb"] | changes)
    name = changed["logger"]["wandb"]["_target_"]
    assert f"allow=[{name}]" in refusal(changed)
    refuse_foreign_targets(changed, [name], SOURCE)


@pytest.mark.parametrize("changes", [{"log_model": True}, {"tracking_uri": None}, {"artifact_location": FOLDER}])
def test_mlflow_writes_to_its_database_only_unless_allowed(changes: dict[str, Any], plain: dict[str, Any]) -> None:
    changed = put(plain, ("logger", "mlflow"), plain["logger"]["mlflow"] | changes)
    name = changed["logger"]["mlflow"]["_target_"]
    assert f"allow=[{name}]" in refusal(changed)
    refuse_foreign_targets(changed, [name], SOURCE)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (("callbacks", "checkpoint", "dirpath"), "/home/you"),
        (("callbacks", "checkpoint", "dirpath"), "checkpoints"),
        (("callbacks", "checkpoint", "dirpath"), f"{FOLDER}/../other"),
        (("callbacks", "checkpoint", "dirpath"), f"{FOLDER}er"),
        (("callbacks", "checkpoint", "filename"), "../../best"),
        (("callbacks", "checkpoint", "filename"), "/home/you/best"),
        (("logger", "csv", "save_dir"), "~/x"),
        (("logger", "csv", "name"), ".."),
        (("logger", "csv", "version"), "~root"),
        (("logger", "tensorboard", "save_dir"), "$HOME"),
        (("logger", "mlflow", "tracking_uri"), "sqlite:////home/you/other.db"),
        (("logger", "mlflow", "tracking_uri"), f"sqlite:///{FOLDER}/../../../x/other.db?timeout=60"),
        (("trainer", "default_root_dir"), "."),
        (("trainer", "profiler", "dirpath"), "/srv/x"),
        (("model", "weights"), "/home/you/secret.pt"),
    ],
)
def test_what_lies_outside_the_run_folder_is_refused_unless_allowed(
    key: tuple[str, ...], path: str, plain: dict[str, Any]
) -> None:
    changed = put(plain, key, path)
    assert f"outside the run folder {FOLDER}" in refusal(changed)
    refuse_foreign_targets(changed, ["/"], SOURCE)


def test_parts_within_parts_have_an_end(plain: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    refusal(put(plain, ("model", "hidden"), deep))


def test_a_message_cannot_act_on_the_terminal(plain: dict[str, Any]) -> None:
    refusal(put(plain, ("model",), {"_target_": "\x1b]0;x\x07os.system" + "x" * 10_000, "\x1b[2J": "${a}"}))
    assert len(refusal(put(plain, ("model", "x" * 10_000), "${a}" * 10_000))) < 600
