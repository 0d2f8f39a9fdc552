"""Some thousands of what `make fuzz` sends a hundred thousand of."""

from tests.adversary.fuzz import fuzz_callbacks, fuzz_rows
from tests.adversary.target import target
from tests.chaos import harness

CALLBACKS, ROWS = 8_000, 2_000


async def test_mutated_callbacks_and_rows_give_no_5xx_and_cost_no_neighbour() -> None:
    with harness.postgres() as postgres:
        async with (
            harness.service(postgres.url, ACUSE_PUBLIC_URL="http://short.test") as service,
            target(f"http://127.0.0.1:{service.port}", harness.ADMIN_KEY, twilio="token") as attacked,
        ):
            callbacks = await fuzz_callbacks(attacked, postgres.dsn, CALLBACKS)
            rows = await fuzz_rows(attacked, postgres.dsn, ROWS)
    harness.say(f"callbacks: {callbacks}\nrows: {rows}")
    assert not callbacks.faulty, str(callbacks)
    assert not rows.faulty, str(rows)
    assert len(callbacks.once) > CALLBACKS / 4
    assert len(rows.once) > ROWS / 4
