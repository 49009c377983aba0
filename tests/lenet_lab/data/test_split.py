import numpy as np
import pytest

from lab_engine.base.errors import UserError
from lenet_lab.data.split import stratified_split

LABELS = np.repeat([0, 1, 2], [100, 50, 7])


def test_takes_the_same_fraction_of_each_class_and_loses_nothing() -> None:
    left, chosen = stratified_split(LABELS, 0.2, seed=0)
    assert np.bincount(LABELS[chosen]).tolist() == [20, 10, 1]
    assert sorted([*left, *chosen]) == list(range(len(LABELS)))


def test_the_seed_decides() -> None:
    first, again, other = (stratified_split(LABELS, 0.2, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_leaves_something_on_both_sides_of_every_class(fraction: float) -> None:
    for rows in stratified_split(LABELS, fraction, 0):
        assert np.bincount(LABELS[rows]).min() >= 1


def test_refuses_a_class_with_one_image() -> None:
    with pytest.raises(UserError, match="Class number 1 has 1 train image"):
        stratified_split(np.array([0, 0, 1]), 0.5, 0)


def test_leaves_one_image_and_no_more_where_all_are_asked_for() -> None:
    left, _ = stratified_split(LABELS, 0.9999, 0)
    assert np.bincount(LABELS[left]).tolist() == [1, 1, 1]
