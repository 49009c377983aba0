"""Tests; what they import of the project is checked against its annotations."""

from tests.shapes import check_shapes

check_shapes()
