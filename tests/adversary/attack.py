"""Runs the tables against one installation, and says what came of it."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.adversary.cases import Case, get
from tests.adversary.meanwhile import Silent, Steady
from tests.adversary.target import Target
from tests.adversary.watch import PATIENCE_SECONDS, Felt, Watch
from tests.adversary.wire import ask

MOST_STALL_SECONDS = 0.100
MOST_RSS_BYTES = 300_000_000
#: So many say nothing all the while, and for so long at the most.
SILENT = 200
SILENT_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Result:
    case: Case
    status: int
    seconds: float
    felt: Felt
    wrong: str | None

    @property
    def faults(self) -> list[str]:
        found = [self.wrong] if self.wrong else []
        if self.felt.stall_seconds > MOST_STALL_SECONDS:
            found.append(
                f"the loop stood still for {self.felt.stall_seconds:.3f} s (seen {self.felt.raw_seconds:.3f} s)"
            )
        if self.felt.rss_bytes > MOST_RSS_BYTES:
            found.append(f"{self.felt.rss_bytes / 1e6:.0f} MB of memory")
        return found

    def __str__(self) -> str:
        memory = f"{self.felt.rss_bytes / 1e6:4.0f} MB" if self.felt.rss_bytes else "      "
        felt = f"{self.felt.stall_seconds * 1e3:6.0f} ms ({self.felt.raw_seconds * 1e3:5.0f})  {memory}"
        line = f"{self.case.finding:4} {self.status:4} {self.seconds:7.3f} s  {felt}  {self.case.what}"
        return line + "".join(f"\n       ✗ {fault}" for fault in self.faults)


@dataclass
class Report:
    results: list[Result] = field(default_factory=list)
    #: What is wrong with all of it, not with one case.
    wrong: list[str] = field(default_factory=list)
    sent: int = 0
    slowest_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def faulty(self) -> list[Result]:
        return [result for result in self.results if result.faults]

    @property
    def good(self) -> bool:
        return not self.wrong and not self.faulty

    def __str__(self) -> str:
        felt = [result.felt for result in self.results]
        worst = max(self.results, key=lambda result: result.felt.stall_seconds)
        lines = [
            *(str(result) for result in self.faulty),
            *(f"✗ {wrong}" for wrong in self.wrong),
            f"{len(self.results)} cases in {self.seconds:.0f} s, {len(self.faulty)} with faults; "
            f"longest stall {worst.felt.stall_seconds * 1e3:.0f} ms ({worst.case.finding}: {worst.case.what}), "
            f"longest wait seen {max(each.raw_seconds for each in felt) * 1e3:.0f} ms, "
            f"{sum(each.probes for each in felt)} probes; most memory {max(each.rss_bytes for each in felt) / 1e6:.0f} MB; "
            f"{self.sent} valid callbacks meanwhile, the slowest {self.slowest_seconds:.2f} s",
        ]
        return "\n".join(lines)


async def attack(
    target: Target, cases: Sequence[Case], *, pid: int | None, say: Callable[[str], object] = lambda text: None
) -> Report:
    """Every case, one after the other, while valid callbacks come and silent callers wait. `pid`: the service's, where it runs
    on this machine; only then is its memory known."""
    report, began = Report(), time.monotonic()
    async with Watch(target.door, pid) as watch, Silent(target, SILENT) as silent, Steady(target) as steady:
        for case in cases:
            report.results.append(await _one(target, case, watch))
            say(str(report.results[-1]))
            if not await _lives(target):
                report.wrong.append(f"nobody answers since: {case.finding} {case.what}")
                break
        await steady.stop()
        report.sent, report.slowest_seconds = steady.sent, steady.slowest_seconds
        if steady.refused:
            report.wrong.append(f"valid callbacks were refused: {steady.refused}")
        if await _lives(target):
            await _judge_the_end(report, steady, silent, began)
    report.seconds = time.monotonic() - began
    return report


async def _judge_the_end(report: Report, steady: Steady, silent: Silent, began: float) -> None:
    if (applied := await steady.applied()) != steady.sent:
        report.wrong.append(f"of {steady.sent} valid callbacks {applied} were applied")
    if not await silent.all_closed(max(5.0, SILENT_SECONDS - (time.monotonic() - began))):
        report.wrong.append(
            f"M8: of {SILENT} silent connections {silent.closed} were closed after {SILENT_SECONDS:.0f} s"
        )


async def _lives(target: Target) -> bool:
    answer = await ask(target.door, get("/healthz", key="")(target), within=PATIENCE_SECONDS)
    return answer.status == 200


async def _one(target: Target, case: Case, watch: Watch) -> Result:
    try:
        answer, wrong = await case.run(target)
    except Exception as error:  # of looking further: the other cases still have their turn
        return Result(case, -1, 0.0, await watch.look(), f"{type(error).__name__}: {error}")
    return Result(case, answer.status, answer.seconds, await watch.look(), wrong)


def shown(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
