"""A web server that misbehaves, for the tests here."""

from tests.mirror import serve

__all__ = ["serve"]
