"""Facts become states: what every fact that came ends in, whichever road it took.

The caller commits."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from app.db import Connection
from app.messages.store import Changed, refold
from app.quarantine import breaker


async def fold(connection: Connection, message_ids: Sequence[int], now: datetime) -> list[Changed]:
    """Folds these messages, and lets what changed teach what it does about their addresses."""
    changes = await refold(connection, message_ids, now)
    await learn(connection, changes, now)
    return changes


async def learn(connection: Connection, changes: Sequence[Changed], now: datetime) -> None:
    """The changes, not the receipts, touch the health of addresses; failures of an outage are held."""
    finals: Counter[int] = Counter()
    for change in changes:
        if change.gateway_id is not None and change.finals:
            finals[change.gateway_id] += change.finals
    heard = breaker.Changes(
        finals=finals,
        failures=[id for change in changes for id in change.failures],
        new_failures={id for change in changes for id in change.new_failures},
        successes=[id for change in changes for id in change.successes],
        revised=[id for change in changes for id in change.revised],
    )
    if heard.finals or heard.failures or heard.successes or heard.revised:
        await breaker.learn(connection, heard, now)
