"""`/docs` needs nothing from elsewhere."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.testclient import TestClient

from active_call.api.docs_page import add_docs_page


def test_docs_page_names_every_operation_and_loads_nothing_from_elsewhere() -> None:
    app = FastAPI(title="t<b>", version="1", docs_url=None, redoc_url=None)
    add_docs_page(app)

    @app.get("/list", summary="Calls <that> are alive", tags=["calls"])
    async def alive(limit: int = 5) -> dict[str, int]:
        return {"limit": limit}

    with TestClient(app) as client:
        response = client.get("/docs")
    assert response.status_code == 200
    assert "/list" in response.text
    assert "Calls &lt;that&gt; are alive" in response.text
    assert "t&lt;b&gt;" in response.text
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!/)", response.text)
    assert "<script" not in response.text
