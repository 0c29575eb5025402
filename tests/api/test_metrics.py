"""`GET /metrics`: what Prometheus reads of calls, usage and cost."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

from active_call.api.metrics import metrics_routes
from active_call.call.cost.spending import Spending
from active_call.providers.usage.account import MAX_ROWS
from active_call.providers.usage.units import Billed, Unit, Used


class Counted:
    n_calls, n_calls_total = 2, 7

    def __init__(self) -> None:
        self.spending = Spending()


def read(counted: Counted) -> list[str]:
    app = FastAPI()
    app.include_router(metrics_routes(counted))
    answer = TestClient(app).get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text.splitlines()


def test_usage_and_cost_are_counted_by_provider() -> None:
    counted = Counted()
    counted.spending.day.limit(0.3)
    counted.spending.note(Used(Billed("llm", "openai", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1_000_000.0}))
    lines = read(counted)
    assert "active_call_calls 2" in lines and "active_call_calls_total 7" in lines
    assert 'active_call_usage_total{kind="llm",provider="openai",model="gpt-4o-mini",unit="inputTokens"} 1000000' in lines
    assert 'active_call_cost_total{kind="llm",provider="openai",model="gpt-4o-mini",currency="USD"} 0.15' in lines
    assert "active_call_budget_share 0.5" in lines
    counted.spending.note(Used(Billed("llm", 'odd"name\n', "m\\"), {Unit.INPUT_TOKENS: 3.0}))
    lines = read(counted)
    assert r'active_call_usage_total{kind="llm",provider="odd\"name\n",model="m\\",unit="inputTokens"} 3' in lines
    assert not [line for line in lines if line.startswith("active_call_cost_total") and "odd" in line]  # no price is no zero


def test_models_that_clients_make_up_are_no_time_series_without_end() -> None:
    counted = Counted()
    for number in range(MAX_ROWS + 200):
        counted.spending.note(Used(Billed("llm", "openai", f"model-{number}"), {Unit.REQUESTS: 1.0}))
        counted.spending.note(Used(Billed("llm", "openai", "model-0"), {Unit.REQUESTS: 1.0}))
    lines = [line for line in read(counted) if line.startswith("active_call_usage_total")]
    assert len(lines) == MAX_ROWS + 1
    assert 'active_call_usage_total{kind="llm",provider="others",model="",unit="requests"} 200' in lines
    assert f'active_call_usage_total{{kind="llm",provider="openai",model="model-0",unit="requests"}} {MAX_ROWS + 201}' in lines


def test_process_that_has_done_nothing_tells_its_calls_only() -> None:
    assert [line for line in read(Counted()) if not line.startswith("#")] == ["active_call_calls 2", "active_call_calls_total 7"]
