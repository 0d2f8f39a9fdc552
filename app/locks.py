"""Advisory locks of the database, by name: in SQL `{RECORDING}` is the number (`db.load_queries`).

Who takes several takes them in the order in which they stand here: `RECORDING` before keys and states of messages, `ADDRESSES`
after those. Only erasing takes `ADDRESSES` first, and gives up rather than wait for long.
"""

from enum import IntEnum

#: The right to migrate: a lock of one number, where all others have two. Any number, as long as it never changes.
MIGRATING = 4_150_738_337


class Lock(IntEnum):
    """The first number of a lock; the second says of what."""

    #: Of a delivery, by session: its audience is made into messages. Held by one preparer for as long as it takes.
    PREPARING = 3
    #: Of a delivery: uploads of targets, preparations and starts exclude each other. Nobody waits for it.
    HANDLING = 2
    #: Of a delivery: who records submissions waits for it; the clock that ends deliveries passes over those that are held.
    RECORDING = 1
    #: Of one of 256 classes of addresses: who examines their health, or erases one, is alone with them.
    ADDRESSES = 4
    #: Of nothing: the survey of what waits is made by one process at a time. Nobody waits for it.
    SURVEYING = 8
