"""As on the road of receipts: the worker's connections, and a client that is an administrator."""

from tests.ingest.conftest import client, pool, settings

__all__ = ["client", "pool", "settings"]
