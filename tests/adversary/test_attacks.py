"""No attack of the tables stops the service, takes its memory, or costs a neighbour anything."""

import psutil
import pytest

from tests.adversary.attack import attack
from tests.adversary.elsewhere import ELSEWHERE, FINDINGS, missing
from tests.adversary.tables import CASES
from tests.adversary.target import target
from tests.chaos import harness

NEIGHBOURS = 2
#: What would take all memory ends the service, and not the machine.
ADDRESS_SPACE_BYTES = 4_000_000_000


async def test_nothing_of_the_tables_stops_it() -> None:
    """Every answer is right, the loop never stands still for 100 ms, memory stays below 300 MB, and valid callbacks sent all
    the while are answered and applied."""
    with harness.postgres() as postgres:
        async with harness.service(postgres.url, ACUSE_PUBLIC_URL="http://short.test") as service:
            psutil.Process(service.pid).rlimit(psutil.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
            url = f"http://127.0.0.1:{service.port}"
            async with target(url, harness.ADMIN_KEY) as attacked:
                report = await attack(attacked, CASES, pid=service.pid)
            errors = [line for line in service.log.splitlines() if "[error" in line]
    harness.say(str(report))
    assert report.good, f"\n{report}"
    assert not errors, "nobody foresaw: " + "; ".join(errors[:3])


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_a_case_and_two_neighbours(finding: str) -> None:
    if finding in ELSEWHERE:
        assert not missing(finding)
        assert len(ELSEWHERE[finding]) > NEIGHBOURS
    else:
        assert sum(case.finding == finding for case in CASES) > NEIGHBOURS
