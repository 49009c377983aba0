"""Checkpoints and folders of images that are not what they are given for."""

from pathlib import Path

import pytest
import torch

from tests.conftest import Result
from tests.wrong_inputs import files
from tests.wrong_inputs.case import Case, refuse

NO_CHECKPOINT = (
    "checkpoint=HERE/file.ckpt is not a checkpoint of this program, or holds more than tensors and plain data.\n"
    "It was not used. Give a file that a training run of this version wrote."
)
TRAIN = "train data=image_folder data.root=images"

NO_CHECKPOINTS = [
    Case("evaluate checkpoint=file.ckpt", NO_CHECKPOINT, files.checkpoint(b"")),
    Case("predict checkpoint=file.ckpt images=.", NO_CHECKPOINT, files.checkpoint(b"just text\n")),
    Case("export checkpoint=file.ckpt", NO_CHECKPOINT, files.checkpoint(b"PK\3\4" + bytes(1000))),
    Case("evaluate checkpoint=file.ckpt", NO_CHECKPOINT, files.pickle_of({"state_dict": {}})),
    Case("evaluate checkpoint=file.ckpt", NO_CHECKPOINT, files.pickle_of([1, 2])),
]

FOLDERS = [
    Case(
        TRAIN,
        "data.root=HERE/images does not exist\nSet data.root=DIR to a folder with train/<class>/* and …",
    ),
    Case(
        TRAIN.replace("images", "file"),
        "data.root=HERE/file is a file, not a folder\nSet data.root=DIR…",
        files.a_file,
    ),
    Case(TRAIN, "data.root=HERE/images does not exist\nSet…", files.a_loop),
    Case(
        "train data=image_folder data.root=image",
        "data.root=HERE/image does not exist; did you mean images?\nSet…",
        files.images("ant", "bee"),
    ),
    Case(
        "train data=imagse",
        "data=imagse is refused: there is no such option or folder; did you mean images?\n…",
        files.images("ant", "bee"),
    ),
    Case(
        "train data.root=images",
        "data.root=HERE/images is refused: it holds images sorted into folders, and data=cifar10 reads none of "
        "them.\nTo train on these images, write data=HERE/images; otherwise add data=cifar10.",
        files.images("train/ant", "train/bee", "test/ant", "test/bee"),
    ),
    Case("train data.root=images", "data.root=HERE/images is refused: it holds…\n…", files.images("ant", "bee")),
    Case(
        TRAIN,
        "HERE/images holds 0 class folders: at least two are needed.\n"
        "Put the images of each class into a folder with the name of the class.",
        files.add("a.png"),
    ),
    Case(TRAIN, "HERE/images holds 1 class folder: at least two are needed.\nPut…", files.images("ant")),
    Case(
        TRAIN,
        "HERE/images/bee holds no images: put some into it, or remove the folder.",
        files.and_(files.images("ant"), files.add("bee/")),
    ),
    Case(TRAIN, "HERE/images/ant holds no images: put some into it, or remove the folder.", files.only_odd_files),
    Case(
        TRAIN,
        "HERE/images: train/ and test/ must hold the same classes; only in one of them: bee, cow.",
        files.images("train/ant", "train/bee", "test/ant", "test/cow"),
    ),
    Case(
        TRAIN,
        "HERE/images holds train, val: these look like parts of a data set, not classes.\nName them…",
        files.images("train/ant", "val/ant"),
    ),
    Case(
        TRAIN,
        "Class 'bee' has 1 image, and each class is split into train, validation and test images.\n"
        "Add images until it has three, or remove the class.",
        files.and_(files.images("ant", "bee"), files.one_image),
    ),
    Case(
        TRAIN,
        "HERE/images/ant/x.png cannot be decoded: the file is empty\nReplace or remove it, or set "
        "data.on_bad_file=skip to leave it out.",
        files.and_(files.images("ant", "bee"), files.add("ant/x.png")),
    ),
    Case(
        TRAIN,
        "HERE/images/ant/x.png cannot be decoded: not an image in a supported format: …\nReplace…",
        files.and_(files.images("ant", "bee"), files.add("ant/x.png", b"no image")),
    ),
    Case(
        TRAIN,
        "HERE/images/ant/bomb.png cannot be decoded: Image size (225000000 pixels) exceeds limit of … pixels, could be "
        "decompression bomb DOS attack.\nReplace…",
        files.and_(files.images("ant", "bee"), files.bomb),
    ),
    Case(
        TRAIN,
        "HERE/images/ant/a\\nb.png cannot be decoded: the file is empty\nReplace…",
        files.and_(files.images("ant", "bee"), files.add("ant/a\nb.png")),
    ),
    Case(
        TRAIN,
        "HERE/images/ant/\\xff.png cannot be decoded: the file is empty\nReplace…",
        files.and_(files.images("ant", "bee"), files.add("ant/\udcff.png")),
    ),
    Case(
        f"{TRAIN} data.on_bad_file=skip",
        "HERE/images: no file of class 'cow' can be decoded. Replace its files.",
        files.and_(
            files.images("ant", "bee"), files.add("cow/x.png"), files.add("cow/y.png", b"text"), files.add("cow/z.png")
        ),
    ),
]


@pytest.mark.parametrize("case", NO_CHECKPOINTS, ids=str)
def test_what_is_no_checkpoint_is_refused(case: Case, tmp_path: Path) -> None:
    refuse(case, tmp_path)


@pytest.mark.parametrize("case", FOLDERS, ids=str)
def test_images_that_cannot_be_trained_on_are_refused(case: Case, tmp_path: Path) -> None:
    refuse(Case(f"{case.words} data.cache=cache", case.says, case.files), tmp_path)
    assert not list((tmp_path / "cache").glob("*/*"))  # no store, and no part of one


OF_ANOTHER = [
    Case(
        "evaluate checkpoint=good.ckpt data=image_folder data.root=images data.channels=1",
        "checkpoint=HERE/good.ckpt was trained on other data.\nIts classes: 0, 1, …, 9; of these data: ant, bee.",
        files.images("ant", "bee"),
    ),
    Case("evaluate checkpoint=cut.ckpt", NO_CHECKPOINT.replace("file.ckpt", "cut.ckpt")),
    Case(
        "evaluate checkpoint=good.ckpt model=lenet model.hidden=[10,10]",
        "checkpoint=HERE/good.ckpt does not fit this network: size mismatch for …\n"
        "Give the model= it was trained with.",
    ),
    Case(
        "predict checkpoint=good.ckpt model=lenet model.hidden=[10,10] images=images",
        "checkpoint=HERE/good.ckpt does not fit this network: …\nGive…",
        files.images("ant"),
    ),
    Case(
        "evaluate checkpoint=other.ckpt",
        "checkpoint=HERE/other.ckpt was made with model=resnet, which is not among the options "
        "here.\nGive the folder of its file with --config-dir=DIR, or choose another option with model=OPTION.",
    ),
    Case("predict checkpoint=good.ckpt images=nowhere.png", "images=nowhere.png: there is no such file or folder"),
    Case(
        "predict checkpoint=good.ckpt images=images",
        "images=images leads to no files. Give a file, a folder…",
        files.add("x/"),
    ),
    Case(
        "predict checkpoint=good.ckpt images=images/x.png",
        "images/x.png cannot be read: the file is empty",
        files.add("x.png"),
    ),
    Case(
        "predict checkpoint=good.ckpt images=images top_k=0",
        "top_k=0 is refused: give a whole number, at least 1 (classes…)",
    ),
    Case("predict checkpoint=good.ckpt images=[]", "images=[] is refused: give a file, a folder, a pattern such as …"),
    Case(
        "predict checkpoint=good.ckpt images=x pictures=2000",
        "pictures=2000 is refused: give a whole number, 0 to 1000 (…)",
    ),
    Case(
        "predict checkpoint=good.ckpt images=x pictures=0 explain=true",
        "explain=true is refused with pictures=0: give how many images to explain",
    ),
    Case("predict checkpoint=good.ckpt images=x device=abacus", "device=abacus is refused: give auto, cpu or gpu"),
    Case("export checkpoint=good.ckpt format=torch opset=20", "opset=20 is refused: only format=onnx has one"),
    Case(
        "export checkpoint=good.ckpt opset=99",
        "opset=99 is refused: give a whole number from 18 to 23, or null (version of ONNX's operators; …",
    ),
    Case(
        "export checkpoint=good.ckpt file=x.txt",
        "file=HERE/x.txt is refused: give a path that ends in .onnx, for format=onnx",
    ),
    Case(
        "export checkpoint=good.ckpt file=nowhere/x.onnx",
        "file=HERE/nowhere/x.onnx: there is no folder HERE/nowhere. Create it, or choose another.",
    ),
]


@pytest.mark.parametrize("case", OF_ANOTHER, ids=str)
def test_a_checkpoint_and_what_does_not_go_with_it(case: Case, tmp_path: Path, digits_run: Result) -> None:
    good = digits_run.folder / "checkpoints" / "best.ckpt"
    (tmp_path / "good.ckpt").symlink_to(good)
    if "cut.ckpt" in case.words:
        (tmp_path / "cut.ckpt").write_bytes(good.read_bytes()[:-1000])
    if "other.ckpt" in case.words:
        content = torch.load(good, weights_only=True)
        content["run"]["choices"]["model"] = "resnet"
        torch.save(content, tmp_path / "other.ckpt")
    refuse(case, tmp_path)
