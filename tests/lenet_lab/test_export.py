"""`python -m lenet_lab.export`: files that give what PyTorch gives, to programs without this project."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lab_engine.artifacts.checkpoint import read_metadata
from lab_engine.base.errors import UserError
from lab_engine.config.in_process import options
from lab_engine.export.files import run_onnx, run_torch, write_onnx, write_torch
from lab_engine.export.network import trace
from lab_engine.export.parity import Parity, compare
from lab_engine.images.decode import ImageFormat
from lab_engine.training.from_checkpoint import fill_in, load_offered
from lab_engine.training.interface import Exportable
from lenet_lab.api import load
from lenet_lab.data.digits import Digits
from lenet_lab.data.normalize import Normalize
from lenet_lab.models.lenet import LeNet
from lenet_lab.train import COMMAND as TRAIN
from lenet_lab.views.exported_classifier import exportable_classifier
from lenet_lab.views.trained_network import TrainedNetwork, trained_network
from tests import forked
from tests.conftest import FROM_DATA, ROUNDING, Command, Result, environment_in, run_command

ROOT = Path(__file__).parents[2]


def best(run: Result) -> Path:
    return run.folder / "checkpoints" / "best.ckpt"


PIXELS = {"onnx": "uint8", "torch": "float"}  # the other two pairs are tried without the command, on other networks
LEFT = {"onnx": "model.onnx", "torch": "model.pt2"}


@pytest.fixture(scope="module")
def files(digits_run: Result, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """The digits network in each format; a quote and a letter of Unicode in the path."""
    where = tmp_path_factory.mktemp("it's é")
    made = {}
    for format_, pixels in PIXELS.items():
        words = (f"checkpoint={best(digits_run)}", f"format={format_}", f"input={pixels}", f"hydra.run.dir={format_}")
        made[format_] = run_command(where, "export", *words)
        assert made[format_].status == 0, made[format_].err
    return made


def opened(result: Result) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """The file that the command has left, as its images to its logits."""
    if (result.folder / "model.onnx").exists():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more would wait for cores that other tests hold
        session = onnxruntime.InferenceSession(result.folder / "model.onnx", options)
        return lambda images: softmax_checked(*session.run(["logits", "probabilities"], {"images": images}))
    module = torch.export.load(result.folder / "model.pt2").module()
    return lambda images: softmax_checked(*(part.numpy() for part in module(torch.from_numpy(images)).values()))


def softmax_checked(logits: npt.NDArray[np.float32], probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    assert probabilities == pytest.approx(torch.from_numpy(logits).softmax(1).numpy(), abs=ROUNDING)
    return logits


def by_pytorch(checkpoint: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        trained = trained_network(load(checkpoint).network, read_metadata(checkpoint).facts)
        return trained(torch.from_numpy(images)).numpy()


@pytest.mark.parametrize("format_", PIXELS)
def test_gives_what_pytorch_gives_for_any_number_of_images(
    files: dict[str, Result], digits_run: Result, format_: str
) -> None:
    test = Digits().load()[1]
    expected = by_pytorch(best(digits_run), test.images)
    assert np.mean(expected.argmax(1) == test.labels) == pytest.approx(digits_run.metrics["test/accuracy"])
    images = test.images if PIXELS[format_] == "uint8" else (test.images / 255).astype(np.float32)
    run = opened(files[format_])
    for count in (0, 1, 2, 7, len(images)):
        logits = run(images[:count])
        assert logits.shape == (count, 10)
        assert logits == pytest.approx(expected[:count], abs=ROUNDING, rel=ROUNDING)


@pytest.mark.parametrize("format_", PIXELS)
def test_says_what_it_wrote_and_leaves_nothing_else(files: dict[str, Result], format_: str) -> None:
    result, name = files[format_], LEFT[format_]
    assert sorted(path.name for path in result.folder.iterdir()) == sorted(["config.yaml", "export.log", name])
    assert result.err == ""
    assert "LeNet, 61,706 parameters, best.ckpt" in result.out
    kind, largest = {"uint8": ("uint8", 255), "float": ("float32", 1)}[PIXELS[format_]]
    assert f"images: {kind} (N, 1, 32, 32), grey, 0 to {largest}" in result.out
    assert "logits, probabilities: float32 (N, 10)" in result.out
    assert ("ONNX, opset 23" in result.out) == (format_ == "onnx")
    assert re.search(r"parity     within \d\.\de[+-]\d\d of PyTorch's outputs .* at batch 1, 7, 256", result.out)
    assert "accuracy" not in result.out
    assert f"{name} ({(result.folder / name).stat().st_size / 1000:,.0f} kB)" in result.out


def test_a_network_that_was_measured_by_several_views_has_a_file_of_one(
    digits_run: Result, command: Command, tmp_path: Path
) -> None:
    checkpoint = torch.load(best(digits_run), weights_only=True)
    checkpoint["run"]["choices"]["test_time"] = "flip"
    checkpoint["run"]["values"]["test_time"] = {"flip": True, "shift": 0}
    torch.save(checkpoint, tmp_path / "flip.ckpt")
    result = command("export", f"checkpoint={tmp_path}/flip.ckpt", "format=torch")
    assert "the run was judged by 2 views of each image" in result.out, result.err


def test_an_onnx_file_is_one_file_that_names_its_classes(files: dict[str, Result]) -> None:
    model = onnx.load(files["onnx"].folder / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 23)]
    assert not any(onnx.external_data_helper.uses_external_data(weights) for weights in model.graph.initializer)
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "classes": json.dumps(list("0123456789")),
        "image_shape": "[1, 32, 32]",
        "colours": "grey",
        "pixel_range": "[0, 255]",
        "resize": "stretch, bilinear",
        "checkpoint": "best.ckpt",
        "lenet_lab": "0.1.0",
    }
    sizes = [part.type.tensor_type.shape.dim for part in (*model.graph.input, *model.graph.output)]
    assert [[dim.dim_param or dim.dim_value for dim in size] for size in sizes] == [
        ["N", 1, 32, 32],
        ["N", 10],
        ["N", 10],
    ]


def test_a_torch_file_names_its_classes(files: dict[str, Result]) -> None:
    extra = {"classes.json": "", "about.json": ""}
    torch.export.load(files["torch"].folder / "model.pt2", extra_files=extra)
    assert json.loads(extra["classes.json"]) == list("0123456789")
    assert json.loads(extra["about.json"])["pixel_range"] == [0, 1]


def test_no_path_of_this_machine_is_in_a_file(files: dict[str, Result]) -> None:
    onnx_file = (files["onnx"].folder / "model.onnx").read_bytes()
    with zipfile.ZipFile(files["torch"].folder / "model.pt2") as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    for part in (onnx_file, *parts):
        assert b".py" not in part
        assert os.fsencode(Path(__file__).parents[2]) not in part


@pytest.mark.parametrize("format_", ["onnx", "torch"])
def test_the_lines_that_it_shows_run_where_this_project_cannot_be_imported(
    files: dict[str, Result], digits_run: Result, tmp_path: Path, format_: str
) -> None:
    result = files[format_]
    images = Digits().load()[1].images[:20]
    np.save(tmp_path / "images.npy", images)
    shown = result.out.split("Run it, in Python:\n\n")[1].splitlines()
    assert len(shown) <= 5
    (line,) = (number for number, text in enumerate(shown) if text.startswith("images = "))
    shown[line] += "\nimport numpy; images = numpy.load(PLACE + '/images.npy')"
    if format_ == "torch":
        shown[line] += "; images = torch.from_numpy(images) / 255"
        shown.append("assert about['classes.json'] == str([str(n) for n in range(10)]).replace(chr(39), chr(34))")
    code = "\n".join(
        [
            "import sys; PLACE = sys.argv[1]; sys.modules['lenet_lab'] = None",
            *(["sys.modules['torch'] = None"] if format_ == "onnx" else []),
            *shown,
            "numpy.save(PLACE + '/probabilities.npy', probabilities)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path], cwd=result.folder.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = torch.from_numpy(by_pytorch(best(digits_run), images)).softmax(1).numpy()
    assert np.load(tmp_path / "probabilities.npy") == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.slow
def test_parity_on_a_thousand_photographs(real_images: Path, command: Command, tmp_path: Path) -> None:
    """A network of 62,006 parameters, trained for a moment: what it says of them is not the matter here."""
    for split, count in (("train", 20), ("test", 100)):
        for folder in sorted((real_images / split).iterdir()):
            target = tmp_path / "photographs" / split / folder.name
            target.mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                (target / file.name).symlink_to(file)
    trained = command(
        "train", "data=image_folder", "data.root=photographs", "data.batch_size=32", "logger=none", "optimizer.lr=0.05"
    )
    assert trained.status == 0, trained.err
    photographs = sorted((tmp_path / "photographs" / "test").glob("*/*"))
    images = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in photographs])
    assert images.shape == (1000, 3, 32, 32)
    expected = by_pytorch(best(trained), images)
    for format_ in ("onnx", "torch"):
        result = command("export", f"checkpoint={best(trained)}", f"format={format_}", f"hydra.run.dir={format_}")
        assert result.status == 0, result.err
        assert "LeNet, 62,006 parameters" in result.out
        assert "3, 32, 32), RGB, 0 to 255" in result.out
        run = opened(result)
        for batch in (1, 256, 1000):
            logits = np.concatenate([run(part) for part in np.split(images, range(batch, 1000, batch))])
            assert logits == pytest.approx(expected, abs=ROUNDING, rel=ROUNDING)


def network(*layers: nn.Module) -> nn.Module:
    """With weights and statistics that are not those of a new network."""
    made = nn.Sequential(*layers)
    made.train()(torch.randn(8, 1, 20, 24))
    return made


class Of(nn.Module):
    """A network that is its function of the images and a linear layer."""

    def __init__(self, forward: Callable[[Tensor, nn.Linear], Tensor]) -> None:
        super().__init__()
        self.function, self.linear = forward, nn.Linear(480, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.linear)


def trained(made: nn.Module) -> TrainedNetwork:
    """For grey images of 20x24 pixels, whose classes have names that want escaping."""
    classes = ("<b>é</b>", '"', "a,b")
    return TrainedNetwork(made.eval(), Normalize([0.3], [0.2]), classes, ImageFormat(1, 20, 24, "crop"))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "batch norm, dropout, adaptive pooling": lambda: network(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ),
    "adaptive pooling to a size that does not divide": lambda: network(
        nn.Conv2d(1, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.LayerNorm(100), nn.Linear(100, 3)
    ),
    "view with the number of images": lambda: Of(lambda x, linear: linear(x.view(x.shape[0], -1))),
    "LeNet": lambda: LeNet(1, (20, 24), 3),
}


IN_SHORT = "batch norm, dropout, adaptive pooling"
"""One of these networks; the others are exported by `make test-long`."""


@pytest.mark.parametrize(
    "name", [name if name == IN_SHORT else pytest.param(name, marks=pytest.mark.long) for name in NETWORKS]
)
def test_other_networks(tmp_path: Path, name: str) -> None:
    ours = trained(NETWORKS[name]())
    for pixels in ("uint8", "float"):
        exportable = exportable_classifier(ours, pixels)
        program = trace(exportable)
        write_onnx(program, exportable, exportable.metadata, 20, tmp_path / "x.onnx")
        write_torch(program, exportable.metadata, tmp_path / "x.pt2")
        for run in (run_onnx(tmp_path / "x.onnx"), run_torch(tmp_path / "x.pt2", exportable.outputs)):
            found = compare(exportable, run)
            assert found.holds
            assert found.difference < ROUNDING
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(ours.classes)


def branches_on_pixels(x: Tensor, linear: nn.Linear) -> Tensor:
    return linear(x.flatten(1)) if x.sum() > 0 else -linear(x.flatten(1))


UNEXPORTABLE: dict[str, tuple[Callable[[Tensor, nn.Linear], Tensor], str]] = {
    "branch": (branches_on_pixels, "Could not guard on data-dependent expression"),
    "two images": (lambda x, linear: linear(x.view(2, -1)), "specialized it to be a constant (2)."),
    "few images": (lambda x, linear: linear(x.flatten(1)) * (1 if x.shape[0] < 5 else 2), "Not all values of N"),
    "its own error": (lambda x, linear: linear(x[0]), "RuntimeError: "),
}


@pytest.mark.parametrize("name", UNEXPORTABLE)
def test_what_cannot_be_followed_is_explained(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    function, reason = UNEXPORTABLE[name]
    with pytest.raises(UserError, match=re.escape(reason)) as error:
        trace(exportable_classifier(trained(Of(function))))
    said = str(error.value).splitlines()
    assert said[0] == "model Of cannot be exported. Error of torch.export, for N samples:"
    assert len(said) == 2
    assert capfd.readouterr() == ("", "")


def test_a_network_without_finite_logits_is_refused() -> None:
    ours = trained(Of(lambda x, linear: linear(x.flatten(1)) / 0))
    with pytest.raises(UserError, match="infinite or not a number"):
        compare(exportable_classifier(ours), exportable_classifier(ours))


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_file_that_gives_something_else_does_not_pass(wrong: float) -> None:
    ours = trained(Of(lambda x, linear: linear(x.flatten(1)) / 100))

    ours = exportable_classifier(ours)

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = ours(inputs)
        found["logits"][-1, -1] += wrong if len(found["logits"]) == 7 else 0
        return found

    assert compare(ours, ours).holds
    assert not compare(ours, run).holds
    assert not compare(ours, lambda inputs: {name: output[:, :1] for name, output in ours(inputs).items()}).holds


class Sum(nn.Module):
    """Two inputs, and one output that is no dictionary."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left.sum(1) + right


def example(count: int) -> dict[str, Tensor]:
    return {"a": torch.arange(3.0 * count).reshape(count, 3), "b": torch.ones(count)}


def test_a_module_of_any_inputs_and_outputs(tmp_path: Path) -> None:
    exportable = Exportable(Sum(), example, ("total",), metadata={"unit": "m", "sizes": [1, 2]})
    program = trace(exportable)
    write_onnx(program, exportable, exportable.metadata, 20, tmp_path / "x.onnx")
    write_torch(program, exportable.metadata, tmp_path / "x.pt2")
    for run in (run_onnx(tmp_path / "x.onnx"), run_torch(tmp_path / "x.pt2", exportable.outputs)):
        assert compare(exportable, run) == Parity((1, 7, 256), 0.0, pytest.approx(1e-4 * 2299))
        assert run(example(5))["total"].tolist() == [4, 13, 22, 31, 40]
    metadata = onnxruntime.InferenceSession(tmp_path / "x.onnx").get_modelmeta().custom_metadata_map
    assert metadata == {"unit": "m", "sizes": "[1, 2]"}


def test_outputs_that_have_other_names_than_is_said_are_refused() -> None:
    class Two(Sum):
        def forward(self, left: Tensor, right: Tensor) -> Any:
            return {"total": super().forward(left, right), "right": right}

    exportable = Exportable(Two(), example, ("total",))
    with pytest.raises(
        UserError, match=r"^The module returns the outputs total, right, and exportable\(\) names total\."
    ):
        compare(exportable, exportable)


def test_what_a_task_gives_no_choice_of_cannot_be_chosen(digits_run: Result) -> None:
    config: dict[str, Any] = {"choices": {}}
    with options(TRAIN, None):
        fill_in(config, best(digits_run), ("task",))
    chosen = load_offered(config, best(digits_run), "exportable", Exportable, "export", pixels="float")
    assert chosen.meanings == {"images": "grey, 0 to 1"}
    with pytest.raises(
        UserError, match=r"^exportable\(\) of Classification has no argument colours: grey cannot be chosen"
    ):
        load_offered(config, best(digits_run), "exportable", Exportable, "export", colours="grey")


OWN = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, in_channels, image_size, num_classes):
        super().__init__()
        self.linear = nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)

    def forward(self, x):
        return BODY
"""


@pytest.mark.parametrize(
    ("body", "options", "status", "message"),
    [
        (
            "self.linear(x.flatten(1)) + torch.rand(1)",
            ["format=torch"],
            1,
            "and rounding explains only .*: the file was removed.\nThe exporter has changed what the network computes",
        ),
        ("self.linear(x.flatten(1)) + torch.rand(1)", [], 1, "onnxruntime cannot run the file, which was removed"),
        (
            "self.linear(x.flatten(1)) + torch.linalg.svdvals(x[:, 0]).sum(1, keepdim=True)",
            [],
            2,
            (
                "model Own cannot be exported: try format=torch. Error of torch.onnx, for N samples:\n"
                "DispatchError: No ONNX function found for .*_linalg_svd"
            ),
        ),
    ],
)
def test_a_file_that_would_not_do_is_not_left(
    command: Command, digits_run: Result, tmp_path: Path, body: str, options: list[str], status: int, message: str
) -> None:
    (tmp_path / "own.py").write_text(OWN.replace("BODY", body))
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "own.yaml").write_text(f"# Mine.\n_target_: own.Own\n{FROM_DATA}")
    checkpoint: dict[str, Any] = torch.load(best(digits_run), weights_only=True)
    checkpoint["run"]["choices"]["model"], checkpoint["run"]["values"]["model"] = "own", {}
    checkpoint["state_dict"] = {
        "network.linear.weight": torch.ones(10, 1024) / 1e6,
        "network.linear.bias": torch.ones(10),
    }
    torch.save(checkpoint, tmp_path / "own.ckpt")
    result = command("export", "--config-dir=conf", "checkpoint=own.ckpt", *options)
    assert result.status == status, result.err
    assert re.match(f"error: .*{message}", result.err), result.err
    assert len(result.err.splitlines()) == 2
    left = [path.name for path in tmp_path.rglob("*") if "model." in path.name]
    assert left == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "checkpoint is missing: give checkpoint=last (the newest run), or checkpoint=RUN_FOLDER"),
        (["checkpoint=nowhere.ckpt"], "nowhere.ckpt: there is no such file"),
        (["checkpoint=mine.onnx"], "mine.onnx is not a checkpoint of this program"),
        (["checkpoint=BEST", "format=tflite"], "format=tflite is refused: give onnx or torch"),
        (["checkpoint=BEST", "input=int8"], "input=int8 is refused: give uint8, float, or null (pixels from 0 to 255"),
        (["checkpoint=BEST", "opset=17"], "opset=17 is refused: give a whole number from 18 to 23"),
        (["checkpoint=BEST", "opset=20", "format=torch"], "opset=20 is refused: only format=onnx has one"),
        (["checkpoint=BEST", "file=mine.onnx"], "mine.onnx exists already, and is not overwritten"),
        (["checkpoint=BEST", "file=mine.pt2"], "mine.pt2 is refused: give a path that ends in .onnx"),
        (["checkpoint=BEST", "file=no/mine.onnx"], "/no. Create it, or choose another"),
        (["checkpoint=BEST", "-m", "format=onnx,torch"], "-m is refused: export does one thing at a time"),
    ],
)
def test_a_wrong_request_is_explained(
    command: Command, tmp_path: Path, digits_run: Result, overrides: list[str], message: str
) -> None:
    (tmp_path / "mine.onnx").write_text("mine")
    result = command("export", *(word.replace("BEST", str(best(digits_run))) for word in overrides))
    assert result.status == 2, result.err
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]
    assert (tmp_path / "mine.onnx").read_text() == "mine"


def test_without_onnxruntime_the_extra_is_named(digits_run: Result, tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules['onnxruntime'] = None\n"
        "runpy.run_module('lenet_lab.export', run_name='__main__', alter_sys=True)"
    )

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, f"checkpoint={best(digits_run)}", "hydra.run.dir=run", *words]
        return forked.run(command, cwd=tmp_path, env=environment_in(tmp_path))

    done = call()
    assert done.returncode == 2
    assert done.stderr == f"error: format=onnx needs the package onnxruntime: pip install -e '{ROOT}[export]'\n"
    assert list(tmp_path.iterdir()) == []
    assert call("format=torch").returncode == 0
