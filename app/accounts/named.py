"""Gateways by the keys that bulk rows name, those included that another process made a moment ago."""

from collections.abc import Iterable

from app.accounts.directory import GatewayDirectory
from app.api.fields import is_slug
from app.errors import Busy

#: How often one request may have the database asked: a hostile upload names another unknown key in each row.
MOST_QUESTIONS = 20


class Named:
    """The directory, for one request: looked up in memory, and asked once for what nobody knows."""

    def __init__(self, directory: GatewayDirectory, *, of_receipts: bool = False) -> None:
        """`of_receipts`: those that were deleted, too, as long as they take receipts."""
        self._directory = directory
        self._unknown: set[str] = set()
        self._questions = 0
        self.get = directory.answering if of_receipts else directory.get

    async def found(self, keys: Iterable[str]) -> bool:
        """Whether one of `keys`, none of which was known, is known now: read those rows again. Raises `Busy` when the
        database is away, for then nobody can say."""
        fresh = {key for key in keys if is_slug(key)} - self._unknown
        if not fresh or self._questions >= MOST_QUESTIONS:
            return False
        self._questions += 1
        try:
            await self._directory.find(min(fresh))  # whatever is asked for, the answer tells of all that is new
        except Busy:
            if not self._directory.reachable:
                raise
        unknown = {key for key in fresh if self.get(key) is None}
        self._unknown |= unknown
        return len(unknown) < len(fresh)
