"""Connects admission: what judges the load, and who acts on it."""

from __future__ import annotations

from active_call.call.opening.registry import CallRegistry
from active_call.legs.sip.gateway import SipGateway
from active_call.media.pool.pool import MediaPool
from active_call.providers.registry import Engines
from active_call.server.load.admission_watch import AdmissionWatch, CallLoad
from active_call.server.load.core_times import read_cores
from active_call.sip.endpoint import Endpoint


def has_room(load: CallLoad, pool: MediaPool, engines: Engines, registry: CallRegistry) -> bool:
    """Whether one more call fits, by the cores, the media processes and the local engines."""
    return load.has_room(registry) and pool.has_room() and engines.has_room(registry.n_calls)


def admission_watch(load: CallLoad, registry: CallRegistry, pool: MediaPool, endpoint: Endpoint, gateway: SipGateway) -> AdmissionWatch:
    """The watch over the load. It tells the endpoint whether calls are accepted, and how many more fit."""

    def tell(is_accepting: bool, retry_after_s: int) -> None:
        endpoint.set_accepting(is_accepting, retry_after_s)
        n_calls = registry.n_calls
        n_free = min(registry.n_free, pool.n_free, load.cores.n_free(n_calls))
        endpoint.admission.address_share.note_room(n_free, load.cores.new_calls_per_s(n_calls))

    def pids() -> list[int]:
        return [worker.pid for worker in pool.workers if worker.pid]

    return AdmissionWatch(load, registry, lambda: read_cores(pids()), tell, gateway.refusals.flush)
