"""`make fuzz-api`: schemathesis over the whole OpenAPI document of a running service that holds what the examples name."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.adversary.target import Target, number, target
from tests.chaos import harness

SEED = 9
#: So many cases at least, or the run has not been one.
CASES = 5_000
EXAMPLES = 45
_CONFIG = Path(__file__).with_name("schemathesis.toml")
_PATIENCE_SECONDS = 900.0


async def _run(examples: int, seed: int) -> int:
    with harness.postgres() as postgres, tempfile.TemporaryDirectory(prefix="acuse-fuzz-") as folder:
        async with harness.service(postgres.url, ACUSE_PUBLIC_URL="https://sms.example.com") as service:
            async with target(f"http://127.0.0.1:{service.port}", harness.ADMIN_KEY) as attacked:
                await _examples(attacked)
                report = Path(folder) / "report.json"
                began = time.monotonic()
                status = await _schemathesis(service.port, examples, seed, report)
            cases = int(json.loads(report.read_text())["test_cases"]["generated"]) if report.exists() else 0
    sys.stdout.write(f"schemathesis: {cases} cases, seed {seed}, {time.monotonic() - began:.0f} s, exit {status}\n")
    return status or int(cases < CASES)


async def _schemathesis(port: int, examples: int, seed: int, report: Path) -> int:
    command = [
        str(Path(sys.executable).with_name("st")), "--config-file", str(_CONFIG), "run", f"http://127.0.0.1:{port}/openapi.json",
        "--header", f"Authorization: Bearer {harness.ADMIN_KEY}", "--checks", "all", "--mode", "all",
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples), "--seed", str(seed),
        "--report-json-path", str(report), "--no-color",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(harness.ROOT)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=report.parent)
    try:
        return await asyncio.wait_for(process.wait(), _PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()


async def _examples(attacked: Target) -> None:
    """What the document's examples name, and a few facts about it, so that most operations find something."""
    auth: dict[str, Any] = {"mode": "token", "secrets": ["an-example-secret-0123456789"]}
    await attacked.post("/v1/gateways", {"key": "acme", "kind": "generic", "auth": auth})
    await attacked.post("/v1/gateways", {"key": "kannel", "kind": "kannel", "auth": {"mode": "none"}})
    delivery = await attacked.post("/v1/deliveries", {"label": "Examples", "sender": "Acme", "gateway": "acme"})
    rows = [
        b'{"address": "%b", "provider_message_id": "%d"}' % (number(place).encode(), place)
        for place in range(2_560, 2_580)
    ]
    await attacked.post_rows(f"/v1/deliveries/{delivery['id']}/messages", rows)
    receipts = [
        b'{"gateway": "acme", "provider_message_id": "%d", "status": "%b", "error_code": "069"}' % (place, word)
        for place in range(2_560, 2_590)
        for word in (b"sent", b"failed")
    ]
    await attacked.post_rows("/v1/receipts", receipts)
    await attacked.post_rows("/v1/quarantine", [b'{"address": "+34600123000", "note": "said so"}'])
    await attacked.post_rows(
        "/v1/deliveries/{audience}/targets", [b'{"address": "+34600123001", "params": {"name": "Ana"}}']
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz-api", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="the most cases of one operation and phase")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    sys.exit(asyncio.run(_run(arguments.examples, arguments.seed)))


if __name__ == "__main__":
    main()
