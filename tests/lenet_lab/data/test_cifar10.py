import gzip
import hashlib
import io
import os
import pickle
import resource
import struct
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torchvision

from lab_engine.base.errors import UserError
from lab_engine.training.build import build_data
from lenet_lab.compose import compose
from lenet_lab.data.cifar10 import Cifar10

FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
TEST = "test_batch"
NAMES = [*TRAIN, TEST]
META = {"batches.meta": pickle.dumps({"label_names": ["airplane", "automobile"]}, 2)}


def python2_pickle(images, labels) -> bytes:
    """A batch in the bytes that Python 2 wrote: opcodes of protocol 2, its str where Python 3 has bytes."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    new_array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    shape = number(images.shape[0]) + number(images.shape[1]) + b"\x86"
    new_dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype_state = b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = new_array + b"(" + number(1) + shape + new_dtype + dtype_state + b"\x89" + text(images.tobytes()) + b"tb"
    numbers = b"](" + b"".join(map(number, labels)) + b"e"
    entries = text(b"batch_label") + text(b"one") + text(b"labels") + numbers + text(b"data") + array
    return b"\x80\x02}(" + entries + b"u."


def draw_batches(rows=(3, 1, 2, 4, 2, 5)):
    """Random images (N, 3072) and labels by name of the file, N differing between batches."""
    random = np.random.default_rng(0)
    return {
        name: (random.integers(0, 256, (count, 3072), dtype=np.uint8), random.integers(0, 10, count).tolist())
        for name, count in zip(NAMES, rows, strict=True)
    }


BATCHES = {name: python2_pickle(*batch) for name, batch in draw_batches().items()}


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def pack(contents: dict[str, bytes], *more) -> bytes:
    """A tar.gz of these files, not in the order of their numbers, as in the official one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, content in (
            *more,
            *(member(f"{FOLDER}/{name}", contents[name]) for name in sorted(contents, reverse=True)),
        ):
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """Make a source that takes this archive for the official one; it lies in its folder, or is served at `mirrors`."""

    def make(archive: bytes, mirrors=(), known=BATCHES | META) -> Cifar10:
        class Reader(torchvision.datasets.CIFAR10):
            tgz_md5 = md5(archive)
            train_list = [[name, md5(known[name])] for name in TRAIN]  # noqa: RUF012
            test_list = [[TEST, md5(known[TEST])]]  # noqa: RUF012
            meta = torchvision.datasets.CIFAR10.meta | {"md5": md5(known["batches.meta"])}

        monkeypatch.setattr(Cifar10, "reader", Reader)
        if not mirrors:
            (tmp_path / "root").mkdir(exist_ok=True)
            (tmp_path / "root" / "cifar-10-python.tar.gz").write_bytes(archive)
        return Cifar10(tmp_path / "root", tmp_path / "cache", mirrors)

    return make


def failure(source: Cifar10) -> str:
    """The message of a source that fails, and leaves nothing but locks."""
    with pytest.raises(UserError) as caught:
        source.load()
    message = str(caught.value)
    assert message.count("\n") <= 1
    assert {path.suffix for path in source.cache.iterdir()} <= {".lock"}
    return message


def check(image_set, batches) -> None:
    images = np.concatenate([images for images, _ in batches]).reshape(-1, 3, 32, 32)
    labels = [label for _, labels in batches for label in labels]
    np.testing.assert_array_equal(image_set.images, images)
    np.testing.assert_array_equal(image_set.labels, labels)
    assert (image_set.images.dtype, image_set.labels.dtype) == (np.uint8, np.int64)
    assert image_set.classes == (
        "plane",
        "car",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )


def test_the_official_archive_is_the_one_that_torchvision_knows():
    assert Cifar10.key("train") == "cifar10-c58f30108f718f92-train"
    assert Cifar10.reader is torchvision.datasets.CIFAR10


def test_archive_in_the_folder_gives_its_images_in_order_and_leaves_no_other_file(cifar10):
    source, batches = cifar10(pack(BATCHES | META)), draw_batches()
    train, test = source.load()
    check(train, [batches[name] for name in TRAIN])
    check(test, [batches[TEST]])
    files = [path for path in source.cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert sorted(path.name for path in files) == sorted(["images.npy", "labels.npy", "facts.json"] * 2)


def test_a_configuration_finds_it(cifar10):
    source = cifar10(pack(BATCHES | META))
    words = [f"data.root={source.archive.parent}", f"data.cache={source.cache}"]
    train, test = build_data(compose("data=cifar10", *words)).load()
    assert (len(train), len(test)) == (12, 5)


def test_python2_pickle_is_what_numpy_reads_too():
    images, labels = draw_batches()[TEST]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions 2.4.0 to 2.4.4 dislike the dtype of old pickles
        content = pickle.loads(python2_pickle(images, labels), encoding="bytes")  # noqa: S301
    np.testing.assert_array_equal(content[b"data"], images)
    assert content[b"labels"] == labels


def test_a_warning_of_numpy_about_old_pickles_is_not_shown(cifar10, monkeypatch):
    text = "dtype(): align should be passed as Python or NumPy boolean but got `align=0`."
    source = cifar10(pack(BATCHES | META))
    begin = source.reader.__init__

    def warn(*arguments, **options):
        warnings.warn(text, np.exceptions.VisibleDeprecationWarning, stacklevel=1)
        begin(*arguments, **options)

    monkeypatch.setattr(source.reader, "__init__", warn)
    source.load()


def test_archive_is_downloaded_once_and_needed_once(cifar10, serve):
    archive = pack(BATCHES | META)
    mirror = serve(archive)
    source = cifar10(archive, [mirror.url])
    first, _ = source.load()
    assert mirror.requests == [None]
    assert source.archive.read_bytes() == archive
    source.archive.unlink()
    mirror.stop()
    second, test = source.load()
    np.testing.assert_array_equal(first.images, second.images)
    check(test, [draw_batches()[TEST]])


def test_failed_download_offers_the_digits_and_the_place(cifar10, serve):
    source = cifar10(pack(BATCHES | META), [serve(b"", status=503).url])
    message = failure(source)
    assert "HTTP 503" in message
    assert "data=digits" in message
    assert str(source.archive) in message


def test_other_file_with_the_name_of_the_archive_is_kept(cifar10):
    source = cifar10(pack(BATCHES | META))
    source.archive.write_bytes(b"mine")
    assert f"{source.archive} is damaged or another file" in failure(source)
    assert source.archive.read_bytes() == b"mine"


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", [TRAIN[2], TEST, "batches.meta"])
def test_a_file_that_torchvision_does_not_know_is_not_unpickled(cifar10, tmp_path, name):
    trace = tmp_path / "trace"
    exploit = pickle.dumps({"data": Touch(trace)})
    source = cifar10(pack(BATCHES | META | {name: exploit}))
    message = failure(source)
    assert str(source.archive) in message
    assert "not found or corrupted.\nMove it away" in message
    assert not trace.exists()
    pickle.loads(exploit)  # noqa: S301
    assert trace.exists()  # the exploit is a real one


@pytest.mark.parametrize("name", [TRAIN[3], TEST])
def test_archive_without_a_batch_is_refused(cifar10, name):
    contents = BATCHES | META
    del contents[name]
    assert "not found or corrupted" in failure(cifar10(pack(contents)))


@pytest.mark.parametrize(
    "evil",
    [
        member("../marker", b"harm"),
        member(f"{FOLDER}/../../marker", b"harm"),
        member("marker", kind=tarfile.SYMTYPE, link="/etc"),
        member("marker", kind=tarfile.LNKTYPE, link="/etc/hostname"),
        member("marker", kind=tarfile.CHRTYPE),
        member("marker", kind=tarfile.FIFOTYPE),
    ],
)
def test_nothing_leaves_the_folder_that_it_is_unpacked_in(cifar10, tmp_path, evil):
    assert "cannot be read" in failure(cifar10(pack(BATCHES | META, evil)))
    assert not list(tmp_path.rglob("marker"))


def test_a_full_disk_is_named(cifar10):
    source = cifar10(pack(BATCHES | META))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        message = failure(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.startswith(f"The decoded images cannot be kept in {source.cache}: File too large.\nName another")


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        gzip.compress(b"no archive"),
        pack(BATCHES | META)[:9000],
        pack(BATCHES | META)[:9000] + bytes(9000),
    ],
    ids=["empty", "not gzip", "not tar", "cut", "damaged"],
)
def test_broken_archive_is_refused(cifar10, archive):
    source = cifar10(archive)
    assert f"{source.archive} cannot be read: " in failure(source)
