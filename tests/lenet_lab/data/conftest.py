"""A web server that misbehaves, for the tests here."""

from tests.mirror import mirror

__all__ = ["mirror"]
