"""Muon: what a step does to matrices, convolutions and vectors."""

import copy

import pytest
import torch
from torch import nn

from lenet_lab.optim.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 75), (120, 400), (84, 30), (10, 10)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    in_their_basis = left.T @ orthogonalize(matrix) @ right.T  # diagonal, if the vectors have stayed
    values = in_their_basis.diagonal()
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    # five iterations of three products of float32 matrices each enlarge rounding; a wrong vector is 0.1 off
    torch.testing.assert_close(in_their_basis, torch.diag(values), rtol=0, atol=1e-4)


def test_a_matrix_moves_as_by_torchs_own_muon() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon of its own")
    torch.manual_seed(0)
    ours = nn.Linear(40, 20, bias=False)
    theirs = copy.deepcopy(ours)
    settings = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    one, other = Muon(ours.parameters(), **settings), torch.optim.Muon(theirs.parameters(), **settings)
    start = ours.weight.detach().clone()
    for _ in range(5):
        ours.weight.grad = torch.randn_like(start)
        theirs.weight.grad = ours.weight.grad.clone()
        one.step()
        other.step()
    moved, apart = ours.weight.detach() - start, (ours.weight - theirs.weight).detach()
    assert float(apart.norm() / moved.norm()) < 0.05  # theirs iterates in bfloat16


def test_a_vector_moves_as_by_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.ParameterList([torch.ones(5), torch.full((3,), 2.0)]) for _ in range(2))
    one = Muon(ours.parameters(), lr=0.02, vector_lr=0.1, weight_decay=0.5)
    other = torch.optim.Adam(theirs.parameters(), lr=0.002)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_convolution_moves_as_the_matrix_that_it_is() -> None:
    torch.manual_seed(0)
    convolution, matrix = nn.Conv2d(3, 6, 5, bias=False), nn.Linear(75, 6, bias=False)
    matrix.weight.data = convolution.weight.data.flatten(1).clone()
    convolution.weight.grad = torch.randn_like(convolution.weight)
    matrix.weight.grad = convolution.weight.grad.flatten(1).clone()
    for layer in (convolution, matrix):
        Muon(layer.parameters(), lr=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(convolution.weight.flatten(1), matrix.weight)


def test_it_goes_on_from_its_state() -> None:
    def steps(network: nn.Module, optimizer: Muon, count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

    torch.manual_seed(0)
    inputs = torch.randn(8, 4)
    whole = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    cut = copy.deepcopy(whole)
    steps(whole, Muon(whole.parameters()), 6)
    first = Muon(cut.parameters())
    steps(cut, first, 3)
    second = Muon(cut.parameters())
    second.load_state_dict(first.state_dict())
    steps(cut, second, 3)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(one, other)


def test_one_cycle_moves_its_momentum() -> None:
    optimizer = Muon(nn.Linear(4, 2).parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=10, pct_start=0.5)
    momenta = []
    for _ in range(9):
        optimizer.step()
        schedule.step()
        momenta.append(optimizer.param_groups[0]["momentum"])
    assert min(momenta) == pytest.approx(0.85)
    assert optimizer.param_groups[0]["vector_betas"] == (0.9, 0.999)
