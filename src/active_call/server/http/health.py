"""`GET /health`: calls, media processes, SIP, trunks, registrations, records, connections. Parts enter, plain values leave."""

from __future__ import annotations

from typing import Any

from active_call.base.version import __version__
from active_call.call.opening.registry import CallRegistry
from active_call.legs.sip.gateway import SipGateway
from active_call.legs.sip.registrations import Registrations
from active_call.legs.trunks.watch import TrunkWatch
from active_call.media.pool.pool import MediaPool
from active_call.net.sip_driver import SipDriver
from active_call.store.database.records import DatabaseRecords
from active_call.store.troubles import Troubles


def kept(registry: CallRegistry, records: DatabaseRecords) -> dict[str, Any]:
    """Calls and their records, for `/health`."""
    return registry.spending.as_json() | {"records": {**records.health(), "refused_unrecorded": registry.refused_calls.n_unrecorded}}


def media_and_calls(
    registry: CallRegistry,
    pool: MediaPool,
    gateway: SipGateway,
    registrations: Registrations,
    watch: TrunkWatch,
    troubles: Troubles,
) -> dict[str, Any]:
    """Media processes, trunks, registrations, refusals and problems, for `/health`."""
    endpoint = gateway.endpoint
    media = [
        {
            "index": worker.index,
            "pid": worker.pid,
            "alive": worker.alive,
            "streams": worker.n_streams,
            "restarts": worker.restarts,
            "tick_late_ms_p99": worker.last_load.tick_late_ms_p99 if worker.last_load else None,
            "skipped_ticks": worker.last_load.skipped_ticks if worker.last_load else None,
        }
        for worker in pool.workers
    ]
    problems = troubles.current()
    healthy = all(worker.alive for worker in pool.workers) and not problems
    return {
        "status": "draining" if registry.is_draining else "ok" if healthy else "degraded",
        "problems": problems,
        "version": __version__,
        "calls": registry.n_calls,
        "calls_total": registry.n_calls_total,
        "sip": {
            "calls": endpoint.n_calls,
            "transactions": endpoint.n_transactions,
            "dialogs": endpoint.n_dialogs,
        },
        "unknown_addresses": endpoint.admission.describe(),
        "registrations": registrations.states,
        "trunks": {
            trunk.name: {"calls": endpoint.n_calls_by_trunk.get(trunk.name, 0), "state": watch.states.get(trunk.name, "not watched")}
            for trunk in gateway.settings.dial_plan.trunks
        },
        "outbound": _outbound(gateway),
        "refusals": dict(gateway.refusals.refused),
        "dropped": dict(gateway.refusals.dropped),
        "ignored_headers": dict(gateway.refusals.ignored),
        "media": media,
    }


def _outbound(gateway: SipGateway) -> dict[str, Any]:
    """Outbound calls and minutes within the last hour."""
    n_calls, minutes = gateway.usage.sums()
    by_trunk = {trunk.name: gateway.usage.sums(trunk.name) for trunk in gateway.settings.dial_plan.trunks}
    trunks = {name: {"calls_last_hour": n, "minutes_last_hour": round(spent, 1)} for name, (n, spent) in by_trunk.items()}
    return {"calls_last_hour": n_calls, "minutes_last_hour": round(minutes, 1), "trunks": trunks}


def sip_connections(driver: SipDriver) -> dict[str, Any]:
    """SIP connections, open and refused, for `/health`."""
    return {"connections": driver.n_connections, "connections_refused": dict(driver.refusals)}
