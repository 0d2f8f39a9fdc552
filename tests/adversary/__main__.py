"""`make attack URL=… KEY=…`: the same tables against an installation of one's own."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import psutil

from tests.adversary.attack import attack, shown
from tests.adversary.cases import Case
from tests.adversary.tables import CASES
from tests.adversary.target import target
from tests.adversary.wire import Door

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WARNING = """This sends hundreds of megabytes of hostile requests to {url}, makes gateways, deliveries and keys there whose names
begin with `attack-`, and leaves some hundred unreadable callbacks among its rejected receipts. Never do this to an
installation that is not yours, or on which somebody depends now. Say --yes (make attack … YES=1) when that is meant."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("url", help="where the service listens, such as http://127.0.0.1:8000")
    parser.add_argument(
        "--key", default=os.environ.get("ATTACK_KEY", ""), help="an admin key (or ATTACK_KEY in the environment)"
    )
    parser.add_argument(
        "--yes", action="store_true", help="needed unless the service listens on this machine's loopback"
    )
    parser.add_argument("--only", default="", help="findings, parted by commas, such as C1,H4")
    parser.add_argument("--pid", type=int, help="the service's process, for its memory; found by its port on loopback")
    return parser.parse_args()


def _wanted(only: str) -> Sequence[Case]:
    named = {name for name in only.split(",") if name}
    return [case for case in CASES if not named or case.finding in named]


def _listening(port: int) -> int | None:
    """The process that listens there, if we may see it."""
    try:
        found = [
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port
        ]
    except psutil.AccessDenied:
        return None
    return found[0] if found else None


async def _run(arguments: argparse.Namespace) -> bool:
    door = Door.of(arguments.url)
    pid = arguments.pid or (_listening(door.port) if door.host in _LOOPBACK else None)
    async with target(arguments.url, arguments.key) as attacked:
        shown(f"find. answer seconds   longest stall (seen)  memory   what ({attacked.mark})")
        report = await attack(attacked, _wanted(arguments.only), pid=pid, say=shown)
    shown(f"\n{report}\n{'It held.' if report.good else 'It did not hold.'}")
    return report.good


def main() -> None:
    arguments = _arguments()
    if not arguments.key:
        sys.exit("An admin key is needed: KEY=… or ATTACK_KEY in the environment.")
    if Door.of(arguments.url).host not in _LOOPBACK and not arguments.yes:
        sys.exit(_WARNING.format(url=arguments.url))
    sys.exit(0 if asyncio.run(_run(arguments)) else 1)


if __name__ == "__main__":
    main()
