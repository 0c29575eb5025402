"""`GET /metrics`: calls, and their usage and cost by provider, in the text format of Prometheus.

Format: https://prometheus.io/docs/instrumenting/exposition_formats. Counters start at 0 with the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from fastapi import APIRouter, Response

from active_call.call.cost.spending import Spending
from active_call.providers.usage.account import Row

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Counted(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    n_calls_total: int

    @property
    def n_calls(self) -> int: ...

    @property
    def spending(self) -> Spending: ...


def metrics_routes(counted: Counted) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["server"])

    @router.get("/metrics", summary="Counters for Prometheus: calls, usage and cost by provider", response_class=Response)
    async def metrics() -> Response:
        return Response("".join(f"{line}\n" for line in lines_of(counted)), media_type=CONTENT_TYPE)

    return router


def lines_of(counted: Counted) -> Iterator[str]:
    """The lines of the answer."""
    yield from _family("active_call_calls", "gauge", "Live calls.")
    yield f"active_call_calls {counted.n_calls}"
    yield from _family("active_call_calls_total", "counter", "Calls since the process began.")
    yield f"active_call_calls_total {counted.n_calls_total}"
    spending = counted.spending
    rows, currency = spending.totals.rows, spending.prices.currency
    yield from _family("active_call_usage_total", "counter", "Usage of calls, by provider, model and unit.")
    for row in rows:
        for unit, amount in row.amounts.items():
            yield f"active_call_usage_total{_labels({**_names_of(row), 'unit': unit.value})} {amount:.10g}"
    yield from _family("active_call_cost_total", "counter", "Cost of that usage, if a price is known.")
    for row in rows:
        if row.cost is not None:
            yield f"active_call_cost_total{_labels({**_names_of(row), 'currency': currency})} {row.cost:.10g}"
    if spending.day.per_day:
        yield from _family("active_call_budget_share", "gauge", "The spent part of the day's budget.")
        yield f"active_call_budget_share {spending.day.share:.6g}"


def _family(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _names_of(row: Row) -> dict[str, str]:
    return {"kind": row.billed.kind, "provider": row.billed.provider, "model": row.billed.model}


def _labels(labels: Mapping[str, str]) -> str:
    """`{name="value", …}`; backslash, quote and line break are escaped."""
    escaped = {name: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, value in labels.items()}
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
