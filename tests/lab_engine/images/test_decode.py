"""Batches of decoded files: in order, on all cores, with a reason for each that cannot be read."""

import io
import os
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab_engine.base.errors import UserError
from lab_engine.images import decode as module
from lab_engine.images.decode import ImageFormat, decode, decode_batches, decode_files, read_image

WANTED = ImageFormat(3, 8, 8)


def write(folder: Path, count: int) -> list[str]:
    files = [str(folder / f"{number}.png") for number in range(count)]
    for number, file in enumerate(files):
        Image.new("RGB", (9, 7), (number, 2 * number, 0)).save(file)
    return files


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 10, 1000])
def test_batches_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, batch_size: int) -> None:
    monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(module, "MIN_SECONDS_FOR_POOL", 0.0)
    files: list[str | bytes] = [*write(tmp_path, 60)]
    files[40] = "nowhere.png"
    files[41] = Path(str(files[41])).read_bytes()
    batches = list(decode_batches(files, WANTED, batch_size))
    assert max(map(len, batches)) <= batch_size
    decoded = [each for batch in batches for each in batch]
    assert decoded[40] == "No such file or directory"
    assert [int(each[1, 0, 0]) for each in decoded if not isinstance(each, str)] == [
        2 * number for number in range(60) if number != 40
    ]


def test_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    image = write(tmp_path, 1)[0]
    whole = Path(image).read_bytes()
    noise = tmp_path / "noise.png"
    Image.effect_noise((40, 40), 90).save(noise)
    for name, content in {"empty": b"", "text": b"hello", "cut": noise.read_bytes()[:-300]}.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    reasons = [decode(str(tmp_path / name), WANTED) for name in ("empty", "text", "cut", "pipe", "")]
    assert reasons[0] == "the file is empty"
    assert str(reasons[1]).startswith("not an image in a supported format: AVIF, BMP, ")
    assert "truncated" in str(reasons[2])
    assert reasons[3:] == ["not an ordinary file"] * 2
    assert np.array_equal(decode(whole, WANTED), read_image(image, WANTED))


@pytest.mark.parametrize("cores", [1, 2])
def test_each_file_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cores: int
) -> None:
    monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(module, "MIN_FILES_FOR_POOL", 0)
    monkeypatch.setattr(module, "FILES_PER_BLOCK", 7)
    caplog.set_level("INFO")
    files = write(tmp_path, 30)
    for row in (0, 13, 29):
        Path(files[row]).write_bytes(b"")
    target = tmp_path / "images.npy"
    np.save(target, np.full((30, *WANTED.shape), 200, np.uint8))
    failed = list(decode_files(files, target, WANTED))
    assert failed == [(row, "the file is empty") for row in (0, 13, 29)]
    rows = np.load(target)[:, 0, 0, 0].tolist()
    assert rows == [200 if row in (0, 13, 29) else row for row in range(30)]
    assert "Decoding 30 images, once" in caplog.text


def test_a_worker_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "MIN_SECONDS_FOR_POOL", 0.0)
    monkeypatch.setattr(module, "_decode_each", _die)
    with pytest.raises(UserError, match="have died"):
        list(decode_batches(list[str | bytes](write(tmp_path, 60)), WANTED, 10))


def _die(files: list[str], wanted: ImageFormat) -> list[str]:
    if parent_process() is not None:
        os._exit(1)
    return [""] * len(files)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (256, 0), (257, 1), (65534, 254), (65535, 255), (-1, None), (65536, None)]
)
def test_sixteen_bits_become_eight_and_more_are_refused(value: int, expected: int | None) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.int32)).save(stream, "TIFF")
    decoded = decode(stream.getvalue(), ImageFormat(1, 8, 8))
    if expected is None:
        assert decoded == "its pixels are whole numbers beyond 16 bits; convert it to 8 or 16 bits"
    else:
        assert not isinstance(decoded, str)
        assert decoded.tolist() == [[[expected] * 8] * 8]
