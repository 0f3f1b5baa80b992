"""The client of the warehouse, which runs somewhere else."""

import os

import httpx

URL = os.environ.get("SHOP_WAREHOUSE", "http://localhost:9000/events")


async def post(event: str, body: dict[str, object]) -> int:
    """Send one event, and return the status of the response."""
    async with httpx.AsyncClient() as client:
        response = await client.post(URL, json=body, headers={"Idempotency-Key": event})
    return response.status_code
