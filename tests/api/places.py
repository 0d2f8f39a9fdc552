"""Good values for whatever a path names, so that one of them can be a wrong one."""

import httpx


async def good_places(client: httpx.AsyncClient) -> dict[str, str]:
    """Makes a gateway, and a delivery with a message, that are there."""
    gateway = {"key": "acme", "kind": "generic", "auth": {"mode": "none"}}
    assert (await client.post("/v1/gateways", json=gateway)).status_code == 201
    delivery = {"label": "Sale", "sender": "Acme", "gateway": "acme", "default_region": "ES"}
    id = (await client.post("/v1/deliveries", json=delivery)).json()["id"]
    row = {"address": "+34600123000", "provider_message_id": "A1"}
    assert (await client.post(f"/v1/deliveries/{id}/messages", json=[row])).status_code == 200
    return {
        "id": id, "key": "acme", "address": "%2B34600123000", "number": "0", "name": "crm", "receipt_id": "1", "position": "1",
    }  # fmt: skip
