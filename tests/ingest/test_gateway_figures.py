"""A gateway's figures of what waits and what was set aside are those of its lists, at once."""

import httpx

from tests.ingest.test_roads import Account, until


async def figures(client: httpx.AsyncClient, key: str) -> tuple[int, int]:
    found = (await client.get(f"/v1/gateways/{key}")).json()
    return found["unmatched"], found["rejected"]


async def lists(client: httpx.AsyncClient, key: str) -> tuple[int, int]:
    unmatched = (await client.get(f"/v1/receipts/unmatched?gateway={key}")).json()["total"]
    return unmatched, (await client.get(f"/v1/receipts/rejected?gateway={key}")).json()["total"]


async def test_a_gateways_figures_agree_with_its_lists_whenever_they_are_asked(client: httpx.AsyncClient) -> None:
    account, other = await Account.make(client), await Account.make(client)
    for number in range(3):
        await account.callback({"provider_message_id": f"wait-{account.key}-{number}", "status": "delivered"})
        await other.callback({"provider_message_id": f"wait-{other.key}-{number}", "status": "delivered"})
    assert (await account.callback([1, 2])).status_code == 400
    await until(lambda: lists(client, account.key), lambda found: found == (3, 2))
    assert await figures(client, account.key) == (3, 2)
    answer = await account.messages({"address": "+34600000001", "provider_message_id": f"wait-{account.key}-0"})
    assert answer.json()["accepted"] == 1
    assert await figures(client, account.key) == await lists(client, account.key) == (2, 2)
