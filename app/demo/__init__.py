"""`make demo`: a delivery of 20 000 messages on two simulated gateways, so that there is something to look at.

Everything goes over real HTTP through the public API, on the loopback only. What the gateways did is counted here,
apart from the service (`plan.Books`); at the end both must agree, and recomputing must find no drift.

service.py   a running service, or one of our own for as long as the demo takes
plan.py      what will happen to each message, from a seed; and the books that must come out of it
senders.py   the two gateways: they call back, in time, and again when they get no 2xx
run.py       the delivery from its creation to the proof
show.py      progress and results for people
"""

from app.demo.run import main

__all__ = ["main"]
