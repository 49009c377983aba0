"""The shapes that annotations name are checked, here and in commands."""

import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from lenet_lab.metrics import EvaluationMetrics
from lenet_lab.models.lenet import LeNet
from tests import forked
from tests.conftest import environment_in

ONE_IMAGE = """
import torch
from lenet_lab.models.lenet import LeNet

LeNet(3, (32, 32), 10)(torch.zeros(3, 32, 32))
"""


def test_a_wrong_number_of_dimensions_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="B C H W"):
        LeNet(3, (32, 32), 10)(torch.zeros(3, 32, 32))


def test_sizes_that_have_one_name_must_agree() -> None:
    with pytest.raises(TypeCheckError, match="labels"):
        EvaluationMetrics("ab").update(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64), torch.zeros(()))


def test_a_wrong_type_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="labels"):
        EvaluationMetrics("ab").update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int32), torch.zeros(()))


def test_commands_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "one_image.py").write_text(ONE_IMAGE)
    done = forked.run([sys.executable, "-m", "one_image"], cwd=tmp_path, env=environment_in(tmp_path), timeout=100)
    assert done.returncode == 1
    assert "x: Float[Tensor, 'B C H W']" in done.stderr


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_what_pytorch_follows_is_not_checked() -> None:
    network, images = LeNet(3, (32, 32), 10).eval(), torch.zeros(2, 3, 32, 32)
    assert torch.export.export(network, (images,)).module()(images).shape == (2, 10)
    assert torch.jit.trace(network, images)(images).shape == (2, 10)
