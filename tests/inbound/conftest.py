"""The client of these tests is an administrator."""

from tests.quarantine.conftest import client

__all__ = ["client"]
