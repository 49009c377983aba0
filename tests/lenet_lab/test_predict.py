"""`python -m lenet_lab.predict`, as a user calls it."""

import csv
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from lab_engine.base.quoting import quote_paths
from lab_engine.config.hydra_version import BASE
from lab_engine.prediction.samples import choose_device
from lenet_lab.api import load
from tests import forked
from tests.conftest import ROUNDING, Command, Result, environment_in, run_command
from tests.lab_engine.cli.test_command import HEAVY, imported

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tree_run(image_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A run on an image folder, stopped before it is perfect."""
    words = ["data=image_folder", f"data.root={image_tree}", "trainer.max_epochs=1", "optimizer.lr=0.002"]
    result = run_command(tmp_path_factory.mktemp("tree"), "train", *words, "logger=none")
    assert result.status == 0, result.err
    return result


def best(run: Result) -> str:
    return f"checkpoint={run.folder}/checkpoints/best.ckpt"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def piped(where: Path, content: bytes, *words: str) -> Result:
    """Call the command with `content` at its standard input."""
    call = [sys.executable, "-m", "lenet_lab.predict", *words, f"hydra.run.dir={where}/run"]
    done = forked.run(call, cwd=where, env=environment_in(where), content=content, text=False)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode(), where / "run")


def test_agrees_with_the_accuracy_of_the_run(
    tree_run: Result, command: Command, image_tree: Path, tmp_path: Path
) -> None:
    words = (best(tree_run), f"images={image_tree}/test", "top_k=5")
    result = command("predict", *words, "pictures=7", options=("-X", "importtime"))
    assert result.status == 0, result.err
    assert not imported(result.err) & {"optuna", "captum"}
    predicted = rows(result.folder)
    right = sum(row["class_1"] == Path(row["file"]).parent.name for row in predicted)
    assert right / len(predicted) == tree_run.metrics["test/accuracy"]
    assert [row["file"] for row in predicted] == sorted(map(str, image_tree.glob("test/*/*")))
    for row in predicted:
        shares = [float(row[f"probability_{rank}"]) for rank in (1, 2, 3)]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=ROUNDING)
        assert {row[f"class_{rank}"] for rank in (1, 2, 3)} == {"ant", "bee", "cow"}
        assert (row["error"], len(row)) == ("", 8)  # no fourth class
    assert "the first 7 of 50 images" in result.out
    assert result.out.count(".png   ") == 7
    assert files(result.folder) == ["config.yaml", "predict.log", "predictions.csv", "predictions.png"]
    log = (result.folder / "predict.log").read_text()
    assert [line.rstrip() for line in log.splitlines()] == [line.rstrip() for line in result.out.splitlines()]

    again = command("predict", *words, "batch_size=3", "pictures=0", f"hydra.run.dir={tmp_path}/other")
    assert again.status == 0, again.err
    for one, other in zip(predicted, rows(again.folder), strict=True):
        assert one["class_1"] == other["class_1"]
        assert float(one["probability_1"]) == pytest.approx(float(other["probability_1"]), abs=ROUNDING)
    assert files(again.folder) == ["config.yaml", "predict.log", "predictions.csv"]


def png(width: int, height: int) -> bytes:
    """A small file of a huge image."""
    parts = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT": zlib.compress(bytes(99))}
    chunks = [(kind, content) for kind, content in {**parts, b"IEND": b""}.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


@pytest.fixture
def odd_images(tmp_path: Path) -> Path:
    """Images of many modes and names, and what is none, in a folder of an odd name."""
    folder = tmp_path / "lr=0.1, it's ${x} [ü]"
    (folder / "deep").mkdir(parents=True)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    for mode in ("1", "L", "LA", "P", "RGBA"):
        image.convert(mode).save(folder / f"{mode}.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30) * 70).save(folder / "I;16.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(folder / "exif.jpg", exif=turned)
    image.rotate(-90, expand=True).save(folder / "rotated.png")
    image.save(folder / "moves.gif", save_all=True, append_images=[image.rotate(90)])
    image.save(folder / "deep" / "=1+1, 日本", format="WEBP")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9\n.png")).write_bytes((folder / "L.png").read_bytes())
    (folder / "~cut.jpg").write_bytes((folder / "cmyk.jpg").read_bytes()[:1500])
    (folder / "~empty.png").touch()
    (folder / "~text.png").write_text("not an image")
    (folder / "~bomb.png").write_bytes(png(50_000, 50_000))
    (folder / "loop").symlink_to(folder)
    (folder / ".hidden.png").touch()
    return folder


def test_any_image_is_read_and_what_is_none_is_listed(
    digits_run: Result, command: Command, odd_images: Path, tmp_path: Path
) -> None:
    result = command("predict", best(digits_run), f"images={odd_images.name}", "explain=true")
    assert result.status == 2
    assert result.err == "error: 4 of 16 files could not be read; the others are done.\n"
    by_name = {row["file"].removeprefix(f"{odd_images.name}/"): row for row in rows(result.folder)}
    bad = {name: row["error"] for name, row in by_name.items() if row["error"]}
    assert sorted(bad) == ["~bomb.png", "~cut.jpg", "~empty.png", "~text.png"]
    assert all(by_name[name]["class_1"] == by_name[name]["probability_1"] == "" for name in bad)
    assert "bomb" in bad["~bomb.png"]
    assert bad["~empty.png"] == "the file is empty"
    good = [f"{mode}.png" for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    good += ["cmyk.jpg", "exif.jpg", "rotated.png", "moves.gif", "deep/=1+1, 日本", r"caf\xe9\n.png"]
    assert sorted(by_name.keys() - bad) == sorted(good)
    same = ("class_1", "probability_1", "class_2", "probability_2")
    assert [by_name["L.png"][key] for key in same] == [by_name[r"caf\xe9\n.png"][key] for key in same]
    assert by_name["exif.jpg"]["class_1"] == by_name["rotated.png"]["class_1"]
    listed = result.out[result.out.index("not read") :]
    assert all(name in listed for name in bad)
    assert "UserWarning" not in result.out
    names = ["config.yaml", "explanations.png", "predict.log", "predictions.csv", "predictions.png"]
    assert files(result.folder) == names
    for name in ("explanations.png", "predictions.png"):
        with Image.open(result.folder / name) as picture:
            assert len(picture.convert("RGB").getcolors(picture.width * picture.height) or []) > 50
    assert "Grad-CAM of conv2" in result.out
    assert not (odd_images / "deep" / "config.yaml").exists()


def test_files_of_another_kind_are_skipped_and_counted(digits_run: Result, command: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "photos" / "a.png")
    for name in ("notes.txt", "desktop.ini"):
        (tmp_path / "photos" / name).write_text("not an image")
    result = command("predict", best(digits_run), "images=photos")
    assert (result.status, result.err) == (0, "")
    assert "skipped     1 file of another kind, such as photos/notes.txt" in result.out
    assert "images      1, shown to the network in grey, 32x32" in result.out
    assert [row["file"] for row in rows(result.folder)] == ["photos/a.png"]
    named = command("predict", best(digits_run), "images=photos/notes.txt", f"hydra.run.dir={tmp_path}/other")
    assert named.status == 2
    assert named.err.startswith("error: photos/notes.txt cannot be read: not an image in a supported format")


NAMES = [
    "a b",
    "a,b",
    'it\'s "x"',
    "${x} $HOME",
    "a\\${b}",
    "[a]{b}(c)",
    "ü\\",
    "a=b",
    "~x",
    "null",
    "a: b",
    "1",
    "caf\udce9",
]


@pytest.mark.parametrize("name", NAMES)
def test_what_exists_is_meant_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    words = quote_paths([f"images={name}", f"checkpoint={name}"], ("images", "checkpoint"))
    for word in words:
        override = OverridesParser.create().parse_override(word)
        assert OmegaConf.create({"path": override.value()}).path == str(tmp_path / name)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("images=-", "-"),
        ("images=ü/[0-9]*.png", "ü/[0-9]*.png"),
        ("images=[a.png,b c.png]", ["a.png", "b c.png"]),
        ("images=[ü.png, b=c.png]", ["ü.png", "b=c.png"]),
        ("images='a, b.png'", "a, b.png"),
        ("top_k=3", 3),
    ],
)
def test_what_hydra_can_read_is_left_to_it(word: str, value: object) -> None:
    (quoted,) = quote_paths([word], ("images",))
    assert OverridesParser.create().parse_override(quoted).value() == value


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"-"])
def test_a_file_may_have_any_name(digits_run: Result, tmp_path: Path, name: bytes) -> None:
    image = tmp_path / "image.png"
    Image.new("L", (20, 20)).save(image)
    image.rename(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    word = os.fsdecode(b"images=./" + name if name == b"-" else b"images=" + name)
    result = piped(tmp_path, b"", best(digits_run), word, "pictures=1")
    if name == b"caf\xe9.png" and not BASE:  # OmegaConf 2.4, which comes with Hydra 1.4, cannot write it
        assert (result.status, "is not in UTF-8, and config.yaml cannot hold it" in result.err) == (2, True)
        return
    assert result.status == 0, result.err
    assert [row["file"].lstrip("'") for row in rows(result.folder)] == [name.decode("utf-8", "backslashreplace")]


def test_patterns_and_lists(digits_run: Result, command: Command, odd_images: Path, tmp_path: Path) -> None:
    odd_images.rename(tmp_path / "ü Ω")
    found = command("predict", best(digits_run), "images=ü Ω/**/[LR]*.png")
    assert found.status == 0, found.err
    assert [row["file"] for row in rows(found.folder)] == ["ü Ω/L.png", "ü Ω/LA.png", "ü Ω/RGBA.png"]
    listed = command("predict", best(digits_run), "images=[ü Ω/P.png, ü Ω/L.png]", f"hydra.run.dir={tmp_path}/other")
    assert listed.status == 0, listed.err
    assert [row["file"] for row in rows(listed.folder)] == ["ü Ω/P.png", "ü Ω/L.png"]


def test_standard_input_is_an_image_or_paths(digits_run: Result, tmp_path: Path) -> None:
    for number in range(3):
        Image.new("L", (20, 20), 100 * number).save(tmp_path / f"{number} ü.png")
    names = [f"{number} ü.png" for number in range(3)]
    for number, (content, expected) in enumerate(
        [
            ((tmp_path / names[1]).read_bytes(), ["standard input"]),
            ("\n".join(names).encode(), names),
            ("\0".join(["gone.png", *names]).encode(), ["gone.png", *names]),
        ]
    ):
        where = tmp_path / str(number)
        result = piped(tmp_path, content, best(digits_run), "images=-")
        result.folder.rename(where)
        assert result.status == (2 if "gone.png" in expected else 0), result.err
        assert [row["file"] for row in rows(where)] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["images=nowhere.png"], "images=nowhere.png: there is no such file or folder"),
        (["images=empty"], "images=empty leads to no files"),
        (["images=[text.png,text.png]"], "text.png cannot be read: not an image"),
        (["images=text.png,a.png"], "images=text.png,a.png is refused: these are several values"),
        (["images="], "images= is refused: give a file, a folder"),
        ([], "images is missing: checkpoint="),
        ([], "is of a Classification, which predicts files of images.\nGive images=FILE_OR_FOLDER."),
        (
            ["images=text.png", "data.root=there"],
            "is refused: a Classification predicts files of images.\nLeave it out;",
        ),
        (
            ["images=text.png", "data=digits"],
            "data=digits is refused: a Classification predicts files of images.\nLeave",
        ),
        (["images=text.png", "top_k=0"], "top_k=0 is refused: give a whole number, at least 1"),
        (["images=text.png", "explain=true", "pictures=0"], "explain=true is refused with pictures=0"),
        (["images=text.png", "model=lenet", "model.hidden=[3,4]"], "does not fit this network"),
        (["images=text.png", "-m"], "-m is refused: predict does one thing at a time"),
    ],
)
def test_a_wrong_request_is_explained_and_leaves_nothing(
    command: Command, tmp_path: Path, digits_run: Result, words: list[str], message: str
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty").mkdir()
    result = command("predict", best(digits_run), *words)
    assert result.status == 2, result.err
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
    assert files(tmp_path) == ["empty", "text.png"]


def test_a_missing_captum_is_named_before_anything_starts(command: Command, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['captum'] = None\n")
    (tmp_path / "x").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = command(
        "predict", "checkpoint=x", "images=x", "explain=true", options=("-X", "importtime"), PYTHONPATH=path
    )
    said = [line for line in result.err.splitlines() if not line.startswith("import time:")]
    assert result.status == 2
    assert said == [f"error: explain=true needs the package captum: pip install -e '{ROOT}[explain]'"]
    assert not imported(result.err) & set(HEAVY)


def test_help_needs_no_heavy_imports(command: Command) -> None:
    result = command("predict", "--help", options=("-X", "importtime"))
    assert result.status == 0
    assert "hydra.run.dir=DIR" in result.out
    assert "images: null" in result.out
    assert not imported(result.err) & {*HEAVY, "numpy", "pydantic", "captum"}


def test_a_gpu_that_is_not_there_is_named() -> None:
    assert choose_device("cpu").type == "cpu"
    if choose_device("auto").type == "cpu":
        with pytest.raises(Exception, match="device=gpu is refused"):
            choose_device("gpu")


SAMPLES = """
import torch
from torch.utils.data import Dataset, TensorDataset


def pairs(count, columns=1):
    inputs = torch.arange(3.0 * count).reshape(count, 3) / 100
    return TensorDataset(inputs, inputs[:, :columns] * 2 - 1)


def single(count):
    return TensorDataset(pairs(count).tensors[0])


class Bare(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, number):
        return pairs(5)[number][0]


class Named(TensorDataset):
    classes = ["=low", "high"]


def named(count):
    return Named(*pairs(count, 2).tensors)


def wide(count):
    return TensorDataset(torch.zeros(count, 4))
"""


@pytest.fixture(scope="module")
def regression_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A regression of one number on data from a folder of the user's own."""
    return _regression(tmp_path_factory.mktemp("regression"), "pairs", 1)


def _regression(where: Path, samples: str, outputs: int, *words: str) -> Result:
    (where / "own" / "data").mkdir(parents=True)
    (where / "own" / "model").mkdir()
    (where / "own" / "samples.py").write_text(SAMPLES)
    target = f"{{_target_: samples.{samples}, count: 23}}"
    (where / "own" / "data" / "own.yaml").write_text(f"defaults: [datasets]\ntrain: {target}\ntest: {target}\n")
    linear = f"_target_: torch.nn.Linear\nin_features: 3\nout_features: {outputs}\n"
    (where / "own" / "model" / "linear.yaml").write_text(linear)
    own = [f"--config-dir={where}/own", "task=supervised", "data=own", "model=linear", "loss=mse", "report=false"]
    result = run_command(where, "train", *own, "trainer.max_epochs=1", "threads=1", "data.eval_batch_size=5", *words)
    assert result.status == 0, result.err
    return result


def _predicted(run: Result, *words: str) -> tuple[Result, list[dict[str, str]]]:
    own = f"--config-dir={run.folder.parent}/own"
    name = f"predicted{len(list(run.folder.parent.iterdir()))}"
    result = run_command(run.folder.parent, "predict", own, best(run), "threads=1", f"hydra.run.dir={name}", *words)
    return result, rows(result.folder) if result.status == 0 else []


def test_other_tasks_predict_their_test_data_in_order(regression_run: Result) -> None:
    result, found = _predicted(regression_run)
    assert result.status == 0, result.err
    network = load(regression_run.folder, regression_run.folder.parent / "own")
    inputs = torch.arange(69.0).reshape(23, 3) / 100
    with torch.no_grad():
        outputs = network(inputs)[:, 0].tolist()
    assert [int(row["sample"]) for row in found] == list(range(23))
    assert [float(row["output"]) for row in found] == pytest.approx(outputs, abs=ROUNDING)
    assert [float(row["target"]) for row in found] == pytest.approx((inputs[:, 0] * 2 - 1).tolist(), abs=ROUNDING)
    assert files(result.folder) == ["config.yaml", "predict.log", "predictions.csv"]
    off = sum(abs(float(row["output"]) - float(row["target"])) ** 2 for row in found) / 23
    assert off == pytest.approx(regression_run.metrics["test/loss"], rel=ROUNDING)


@pytest.mark.parametrize("given", ["{_target_: samples.Bare}", "{_target_: samples.single, count: 3}"])
def test_samples_may_be_inputs_alone(regression_run: Result, given: str) -> None:
    result, found = _predicted(regression_run, f"data.predict={given}")
    assert result.status == 0, result.err
    assert ", 3 to predict" in result.out
    assert [list(row) for row in found] == [["sample", "output"]] * 3
    of_test = _predicted(regression_run)[1]
    assert [row["output"] for row in found] == [row["output"] for row in of_test[:3]]


def test_columns_have_the_names_of_the_classes(tmp_path: Path) -> None:
    run = _regression(tmp_path, "named", 2)
    _, found = _predicted(run)
    assert len(found) == 23
    assert list(found[0]) == ["sample", "output_=low", "output_high", "target_=low", "target_high"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["images=x.png"],
            "which has no method predictor() for images.\nLeave it out to predict the test data, or give",
        ),
        (["explain=true"], "explain=true is refused without images=, whose classes it explains"),
        (["data.predict={_target_: samples.wide, count: 2}"], "The network Linear cannot take float32 (2, 4): "),
        (["data.predict={_target_: samples.nothing}"], "error: data.predict (samples.nothing): there is no nothing in"),
    ],
)
def test_samples_that_cannot_be_predicted_are_explained(regression_run: Result, words: list[str], message: str) -> None:
    result, _ = _predicted(regression_run, *words)
    assert result.status == 2
    assert message in result.err
    assert len(result.err.splitlines()) <= 2
    assert not (result.folder / "predictions.csv").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_table_and_frees_the_folder(digits_run: Result, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.effect_noise((2000, 2000), 90).save(tmp_path / "images" / "0.png")
    for number in range(1, 200):
        (tmp_path / "images" / f"{number}.png").hardlink_to(tmp_path / "images" / "0.png")
    call = [sys.executable, "-m", "lenet_lab.predict", best(digits_run), "images=images", "hydra.run.dir=run"]
    started = forked.Popen(call, cwd=tmp_path, env=environment_in(tmp_path), stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert any("run folder" in line for line in started.stdout)  # it is about to decode
    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(1)
    started.send_signal(signal.SIGINT)
    assert started.wait(60) == 130
    started.stdout.close()
    assert not (tmp_path / "run").exists()  # the same command may be given again


def test_real_photographs(digits_run: Result, command: Command, real_images: Path) -> None:
    result = command("predict", best(digits_run), f"images={real_images}/test", "batch_size=100")
    assert result.status == 0, result.err
    assert len(rows(result.folder)) == 10_000
    assert torch.isfinite(torch.tensor([float(row["probability_3"]) for row in rows(result.folder)])).all()
