import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab_engine.base.errors import UserError
from lab_engine.images.decode import MIN_FILES_FOR_POOL, decode_files
from lenet_lab.data.image_folder import ImageFolder
from tests import forked
from tests.conftest import write_images

FORMS = ("caf\u00e9", "cafe\u0301")
"""One name in the two forms that Unicode has for it."""
ROOT = str(Path(__file__).parents[3])


def folder(root: Path, cache: Path, **changes: object) -> ImageFolder:
    settings = {
        "channels": 3,
        "image_size": (32, 32),
        "resize": "stretch",
        "on_bad_file": "error",
        "test_fraction": 0.25,
        "test_seed": 0,
    }
    return ImageFolder(root, cache, **{**settings, **changes})  # type: ignore[arg-type]


def stores(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_reads_train_and_test_exactly(image_tree: Path, tmp_path: Path) -> None:
    train, test = folder(image_tree, tmp_path).load()
    assert train.classes == test.classes == ("ant", "bee", "cow")
    assert np.bincount(train.labels).tolist() == [40, 40, 40]
    assert np.bincount(test.labels).tolist() == [16, 17, 17]
    files = [path for name in test.classes for path in sorted((image_tree / "test" / name).iterdir())]
    expected = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in files])
    assert (test.images == expected).all()


def test_one_tree_is_split_by_a_seed(image_tree: Path, tmp_path: Path) -> None:
    train, test = folder(image_tree / "train", tmp_path).load()
    assert np.bincount(train.labels).tolist() == [30, 30, 30]
    assert np.bincount(test.labels).tolist() == [10, 10, 10]
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
    other = folder(image_tree / "train", tmp_path, test_seed=1).load()[1]
    assert {image.tobytes() for image in other.images} != {image.tobytes() for image in test.images}


def test_maps_the_store_the_second_time(image_tree: Path, tmp_path: Path) -> None:
    first = folder(image_tree, tmp_path).load()[0]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = folder(image_tree, tmp_path).load()[0]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")} == made
    assert isinstance(again.images, np.memmap)
    assert not again.images.flags.writeable
    assert (again.images == first.images).all()


@pytest.mark.parametrize("change", ["added", "removed", "rewritten", "renamed"])
def test_notices_a_changed_folder(tmp_path: Path, change: str) -> None:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "images" / name, 8, label)
    root, cache = tmp_path / "images", tmp_path / "cache"
    before = folder(root, cache).load()[0]
    known = stores(cache)
    first = root / "a" / "0000.png"
    if change == "added":
        Image.new("RGB", (32, 32), "red").save(root / "a" / "new.png")
    elif change == "removed":
        first.unlink()
    elif change == "rewritten":
        Image.new("RGB", (32, 32), "red").save(first)
    else:
        (root / "b").rename(root / "c")
    after = folder(root, cache).load()[0]
    assert set(stores(cache)) - set(known)
    assert (len(after), after.classes) != (len(before), before.classes) or not (after.images == before.images).all()


@pytest.mark.parametrize("change", ["rewritten", "removed", "same size and time"])
def test_a_change_while_images_are_decoded_leaves_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    for label, name in enumerate("ab"):
        write_images(root / "train" / name, 8, label)
        write_images(root / "test" / name, 2, label)
    changed = root / "train" / "b" / "0003.png"

    def decode_and_change(*arguments: Any) -> Iterator[tuple[int, str]]:
        yield from decode_files(*arguments)
        facts, content = changed.stat(), changed.read_bytes()
        changed.unlink()
        if change == "rewritten":
            Image.new("RGB", (32, 32), "red").save(changed)
        elif change == "same size and time":
            changed.write_bytes(content[::-1])
            os.utime(changed, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    with monkeypatch.context() as patch:
        patch.setattr("lenet_lab.data.image_folder.decode_files", decode_and_change)
        with pytest.raises(UserError, match=f"{changed} has changed while the images were decoded.\nRun again"):
            folder(root, cache).load()
    assert not stores(cache)
    if change != "removed":
        Image.new("RGB", (32, 32), "red").save(changed)
    assert len(folder(root, cache).load()[0]) == (15 if change == "removed" else 16)


def test_settings_have_stores_of_their_own(image_tree: Path, tmp_path: Path) -> None:
    grey = folder(image_tree, tmp_path, channels=1, image_size=(20, 28)).load()[0]
    assert grey.image_shape == (1, 20, 28)
    assert folder(image_tree, tmp_path).load()[0].image_shape == (3, 32, 32)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_converts_any_mode(tmp_path: Path, mode: str, channels: int) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    for name, shade in {"dark": 0, "light": 255}.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        grey = Image.new("L", (40, 24), shade)
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert("RGB")
        image = image if mode in ("I;16", "RGB") else (grey if mode == "LA" else image).convert(mode)
        for number in range(3):
            image.save(tmp_path / "images" / name / f"{number}.{suffix}")
    train = folder(tmp_path / "images", tmp_path / "cache", channels=channels).load()[0]
    assert train.image_shape == (channels, 32, 32)
    assert [int(image.min()) for image in train.images] == [int(image.max()) for image in train.images]
    assert train.images[train.labels == 0].max() < 3
    assert train.images[train.labels == 1].min() > 252


@pytest.mark.parametrize(("resize", "left", "top"), [("stretch", 255, 255), ("crop", 255, 255), ("pad", 255, 0)])
def test_resizes_as_configured(tmp_path: Path, resize: str, left: int, top: int) -> None:
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (64, 32), 255).save(tmp_path / "images" / name / f"{number}.png")
    train = folder(tmp_path / "images", tmp_path / "cache", channels=1, resize=resize).load()[0]
    assert train.images[0, 0, 16, 0] == left
    assert train.images[0, 0, 0, 16] == top


@pytest.fixture
def with_bad_files(tmp_path: Path) -> Path:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "images" / name, 8, label)
    (tmp_path / "images" / "a" / "empty.png").touch()
    (tmp_path / "images" / "a" / "text.jpg").write_text("no image")
    whole = (tmp_path / "images" / "b" / "0000.png").read_bytes()
    (tmp_path / "images" / "b" / "cut.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "images"


def test_names_a_file_that_cannot_be_decoded(with_bad_files: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(empty.png|text.jpg|cut.png) cannot be decoded: .*\n.*on_bad_file=skip"):
        folder(with_bad_files, tmp_path / "cache").load()
    assert stores(tmp_path / "cache") == []  # nothing half-made


def test_skips_and_counts_bad_files_when_asked(with_bad_files: Path, tmp_path: Path) -> None:
    source = folder(with_bad_files, tmp_path / "cache", on_bad_file="skip")
    for train, test in (source.load(), source.load()):  # made, and mapped
        assert train.skipped + test.skipped == 3
        assert len(train) + len(test) == 16
        assert all(image.any() for image in (*train.images, *test.images))


def test_files_of_another_kind_change_nothing_and_are_counted(with_bad_files: Path, tmp_path: Path) -> None:
    before = folder(with_bad_files, tmp_path / "cache", on_bad_file="skip", validation=0.2)
    before.setup("fit")
    for name in "ab":
        (with_bad_files / name / "notes.TXT").write_text("no image")
    after = folder(with_bad_files, tmp_path / "cache", on_bad_file="skip", validation=0.2)
    after.setup("fit")
    assert np.array_equal(before.test.images, after.test.images)
    assert before.describe()["skipped"] == "3 files (no image, or cannot be decoded)"
    assert after.describe()["skipped"] == "5 files (no image, or cannot be decoded)"


def test_refuses_a_decompression_bomb(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "images" / name, 4, label)
    Image.new("1", (15_000, 15_000)).save(tmp_path / "images" / "a" / "bomb.png")
    with pytest.raises(UserError, match=r"bomb.png cannot be decoded"):
        folder(tmp_path / "images", tmp_path / "cache").load()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "holds 0 class folders:"),
        (lambda root: write_images(root / "only", 3, 0), "holds 1 class folder:"),
        (lambda root: [write_images(root / "a", 3, 0), (root / "b").mkdir()], "b holds no images"),
        (
            lambda root: (
                [write_images(root / part / name, 3, 0) for part, name in zip("tt", "ab", strict=True)]
                and [(root / "t").rename(root / "train"), write_images(root / "test" / "a", 3, 0)]
                and write_images(root / "test" / "c", 3, 0)
            ),
            "only in one of them: b, c",
        ),
        (
            lambda root: [write_images(root / "a", 3, 0), (root / "b").mkdir(), (root / "b" / "x.png").touch()],
            "Class 'b' has 1 image, and each class is split into train, validation and test",
        ),
        (
            lambda root: [write_images(root / name, 3, 0) for name in ("a", *FORMS)],
            "holds two folders 'café': Unicode can write",
        ),
    ],
)
def test_explains_a_folder_that_cannot_be_used(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "images")  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        folder(tmp_path / "images", tmp_path / "cache", on_bad_file="skip").load()


@pytest.mark.parametrize("parts", [("train", "val"), ("Train", "Test"), ("train",)])
def test_parts_of_a_data_set_are_not_taken_for_classes(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        for label, name in enumerate("ab"):
            write_images(tmp_path / "images" / part / name, 3, label)
    with pytest.raises(UserError, match="these look like parts of a data set, not classes"):
        folder(tmp_path / "images", tmp_path / "cache").load()


def test_a_change_with_the_old_size_and_time_is_noticed(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "images" / name, 4, label, suffix="bmp")
    before = folder(tmp_path / "images", tmp_path / "cache").load()[0]
    for path in (tmp_path / "images" / "a").iterdir():
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        Image.new("RGB", (32, 32), "red").save(path)
        os.utime(path, ns=times)
    after = folder(tmp_path / "images", tmp_path / "cache").load()[0]
    assert not (before.images == after.images).all()


def test_follows_links_to_files_and_classes_but_no_loops(tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "elsewhere" / name, 4, label)
    root = tmp_path / "images"
    (root / "b").mkdir(parents=True)
    (root / "a").symlink_to(tmp_path / "elsewhere" / "a")
    for path in (tmp_path / "elsewhere" / "b").iterdir():
        (root / "b" / path.name).symlink_to(path)
    (root / "b" / "loop").symlink_to(root)
    (root / "b" / ".hidden").write_text("not an image")
    train, test = folder(root, tmp_path / "cache").load()
    assert len(train) + len(test) == 8


def test_class_folders_match_in_either_unicode_form(tmp_path: Path) -> None:
    for part, form in zip(("train", "test"), FORMS, strict=True):
        for label, name in enumerate((form, "cafz")):  # sorted, the first comes first in one form and last in the other
            write_images(tmp_path / "images" / part / name, 4, label)
    train, test = folder(tmp_path / "images", tmp_path / "cache").load()
    assert train.classes == test.classes == ("cafz", FORMS[0])
    for images in (train, test):
        assert images.images[images.labels == 1].max() < 60 <= images.images[images.labels == 0].min()


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_what_systems_leave_is_ignored(tmp_path: Path, parts: tuple[str, ...]) -> None:
    root = tmp_path / "images"
    for part in parts:
        for label, name in enumerate("ab"):
            write_images(root / part / name, 4, label)
            (root / part / name / "Thumbs.db").touch()
        write_images(root / part / "__MACOSX" / "a", 1, 0)
    (root / "desktop.ini").touch()
    train, test = folder(root, tmp_path / "cache").load()
    assert (train.classes, len(train) + len(test)) == (("a", "b"), 8 * len(parts))


def test_odd_names_are_names_like_others(tmp_path: Path) -> None:
    for label, name in enumerate(["a class", "größe 猫", "-x"]):
        write_images(tmp_path / "my images" / name / "sub folder", 4, label)
    train, _ = folder(tmp_path / "my images", tmp_path / "cache").load()
    assert train.classes == ("-x", "a class", "größe 猫")


@pytest.mark.slow
def test_processes_that_start_together_decode_once(tmp_path: Path) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    for label, name in enumerate("ab"):
        write_images(root / name, MIN_FILES_FOR_POOL, label)
    code = (
        "import sys; from tests.lenet_lab.data.test_image_folder import folder, Path\n"
        "import lenet_lab.data.image_folder as module, time\n"
        "decode = module.decode_files\n"
        "def counted(*arguments):\n    print('decoding', flush=True); return decode(*arguments)\n"
        "module.decode_files = counted\n"
        "if __name__ == '__main__':\n    train, test = folder(Path(sys.argv[1]), Path(sys.argv[2])).load()\n"
        "    print(len(train), len(test), int(train.images.sum()))"
    )
    (tmp_path / "together.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": ROOT}
    words = [sys.executable, "-m", "together", root, cache]
    started = [forked.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) for _ in range(4)]
    outputs = [process.communicate(timeout=120)[0].split("\n") for process in started]
    assert sum(lines.count("decoding") for lines in outputs) == 2  # train and test, each by one process
    assert len({tuple(line for line in lines if line != "decoding") for lines in outputs}) == 1
    assert not list(cache.glob(".*"))


@pytest.mark.slow
def test_a_killed_decoding_leaves_nothing_that_counts(tmp_path: Path) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    for label, name in enumerate("ab"):
        write_images(root / name, 1000, label)
    code = (
        "import sys, time, lab_engine.images.store as store\n"
        "from tests.lenet_lab.data.test_image_folder import folder, Path\n"
        "store.StoreWriter.finish = lambda *_, **__: (print('almost', flush=True), time.sleep(60))\n"
        "folder(Path(sys.argv[1]), Path(sys.argv[2])).load()"
    )
    command, environment = [sys.executable, "-c", code, root, cache], {**os.environ, "PYTHONPATH": ROOT}
    with forked.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "almost\n"
        process.kill()
    time.sleep(0.1)
    assert not [name for name in stores(cache) if not name.startswith(".")]
    train, test = folder(root, cache).load()
    assert len(train) + len(test) == 2000
    assert not [name for name in stores(cache) if name.startswith(".")]


@pytest.mark.slow
def test_reads_all_of_cifar10(real_images: Path, real_images_cache: Path) -> None:
    train, test = folder(real_images, real_images_cache).load()
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    row = 31_234  # decoded in another process than the first
    path = sorted((real_images / "train" / train.classes[train.labels[row]]).iterdir())[row % 5000]
    assert (train.images[row] == np.asarray(Image.open(path)).transpose(2, 0, 1)).all()


SCRIPT = """\
import lab_engine.images.decode
from lenet_lab.compose import compose
from lenet_lab.data.image_folder import ImageFolder

lab_engine.images.decode.MIN_FILES_FOR_POOL = 0
lab_engine.images.decode.cores = lambda: 2
ImageFolder("images", "cache", **{"channels": 3, "image_size": (8, 8), "resize": "stretch", "on_bad_file": "error",
    "test_fraction": 0.2, "test_seed": 0}).load()
"""


@pytest.mark.slow
def test_a_script_without_a_guard_ends_with_the_cure(tmp_path: Path) -> None:
    """Each process that decodes imports the script, which must not wait for what the first import waits for."""
    for name in ("ant", "bee"):
        write_images(tmp_path / "images" / name, 10, 0)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'put its code below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
