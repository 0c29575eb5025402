"""Wires the whole server by hand: the only place that knows everybody.

A Config enters; `serve` runs until it is told to stop. Order of start: a look at the ports, media processes, engines, records, SIP, HTTP.
Order of stop: no new calls, calls drained, HTTP, SIP, records, engines, media. It is the same on every way out: a start that fails half-way
drains the calls that have come meanwhile. A part that does not close in time is told and left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from active_call import __version__
from active_call.api.app import ApiServices
from active_call.base.errors import ConfigError, TransportError
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies, RecordingPolicy
from active_call.call.options import choose_speech, merged
from active_call.call.precaching import precache
from active_call.call.registry import CallRegistry
from active_call.call.routing import Playbooks, PythonRouter, Router, WebhookRouter
from active_call.call.state import CallFacts
from active_call.contract.options import AsrOption, TtsOption
from active_call.legs.sip.gateway import SOMEWHERE_PUBLIC, SipGateway, SipSettings
from active_call.legs.sip.media import MediaSettings
from active_call.legs.sip.registrations import Registrations
from active_call.legs.trunks.watch import TrunkWatch
from active_call.media.pool.pool import MediaPool
from active_call.media.sounds.hold_melody import hold_melody
from active_call.net.addresses import is_wildcard, local_address_towards
from active_call.net.certificates import CertificateFiles, client_context, server_context
from active_call.net.descriptors import raise_descriptor_limit
from active_call.net.limits import ConnectionLimits
from active_call.net.outgoing import OutgoingPolicy, guarded_client
from active_call.net.public_address import PublicAddress
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.providers.base import Services
from active_call.providers.local_engines import EngineProcesses
from active_call.providers.registry import Engines
from active_call.server.config.config import Config, default_option
from active_call.server.config.sections import PlaybookHandler, WebhookHandler
from active_call.server.explain import Question, explain, playbook_router
from active_call.server.http_server import http_connections, http_health, http_server, origin_rules
from active_call.server.listening import taken_http_port, taken_ports
from active_call.server.live_settings import LiveSettings
from active_call.server.logs import log_health
from active_call.server.outside import on_playbook, outgoing_policy, sound_folders
from active_call.server.playbook_files import find_playbook
from active_call.server.trunk_setup import SUPPORTED_CODECS, accounts, admission_policy, dial_plan, outbound_policy, trunk_warnings
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import EndpointConfig, Listener
from active_call.store.audio_cache import AudioCache
from active_call.store.create_records import create_records
from active_call.store.database.records import DatabaseRecords
from active_call.store.recordings import check_pattern, recorded_rate_hz, recording_path
from active_call.store.sound_folders import SoundFolders
from active_call.store.sounds import SoundLibrary
from active_call.store.speech import SpeechLibrary
from active_call.store.troubles import Troubles

log = logging.getLogger("active_call.server")

CERTIFICATE_CHECK_S = 60.0
ADMISSION_CHECK_S = 0.25
MINUTES_CHECK_S = 1.0
CLOSE_S = 20.0
"""What one part may take to close; records take up to 16 s when the database and the sink hang."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: what the demo, the CLI and tests may look at."""

    config: Config
    directory: CallRegistry
    playbooks: Playbooks
    listeners: tuple[Listener, ...]
    http_port: int
    pool: MediaPool
    gateway: SipGateway
    endpoint: Endpoint
    records: DatabaseRecords
    settings: LiveSettings
    """What can change while calls go on."""


@asynccontextmanager
async def running(config: Config, environment: Mapping[str, str] | None = None, world: World | None = None) -> AsyncIterator[Running]:
    """Start everything, yield, and stop everything in order. Raises ConfigError or TransportError when something cannot start."""
    world = world or World()
    environment = dict(os.environ if environment is None else environment)
    connections = http_connections(config, raise_descriptor_limit(), world.clock)
    policy, folders = outgoing_policy(config, environment), sound_folders(config)
    _refuse_taken_ports(config)
    pool = _media_pool(config, world)
    async with AsyncExitStack() as stack:
        playbooks = Playbooks(lambda name: find_playbook(name, settings.config), environment, on_playbook(policy, folders))
        records, shared = await _shared_services(stack, config, world, environment, pool, playbooks, policy, folders)
        resolver = Resolver(world)
        endpoint, gateway, driver = _sip(config, world, pool, resolver)
        router = _router(config, shared.http)
        directory = CallRegistry(services_by(config, shared), router, gateway, pool.has_room, max_calls=config.admission.max_calls)
        registrations = Registrations(gateway, accounts(config))
        directory.on_refused = lambda rule: gateway.refusals.refused.update((rule,))
        gateway.on_refused_call = directory.refused_calls.note
        gateway.connect(driver, directory.handle_incoming, registrations.handle)
        watch = _trunk_watch(gateway)
        settings = LiveSettings(
            config, directory, gateway, registrations, watch, driver, playbooks, environment,
            make_services=lambda config: services_by(config, shared),
            make_router=lambda config: _router(config, shared.http),
            warm=lambda config: _warm(config, playbooks, shared.engines),
        )  # fmt: skip
        await settings.warm(config)
        stack.push_async_callback(_closed, "SIP", driver.close)
        stack.push_async_callback(directory.drain, 0.0)  # for a start that fails from here on: calls come as soon as SIP listens
        listeners = await _reachable(stack, config, world, driver, resolver)
        stack.push_async_callback(_closed, "registrations", registrations.close)
        registrations.start()
        for work in (
            _watch_certificate(driver),
            _watch_admission(directory, gateway),
            watch.run(),
            _watch_minutes(gateway),
            shared.troubles.watch(),
        ):
            await stack.enter_async_context(_background(work))
        for warning in trunk_warnings(config, _own_addresses(config, listeners)):
            log.warning("trunks", extra={"warning": warning})

        services = ApiServices(
            directory=directory,
            playbooks=playbooks,
            playbook_folder=_playbook_folder(),
            records=records,
            health=lambda: (
                _kept(directory, records)
                | _health(directory, pool, gateway, registrations, watch, shared.troubles)
                | _connections(driver)
                | http_health(connections)
                | log_health()
            ),
            version=__version__,
            explain=lambda question: _explain(settings.config, question, endpoint, world.clock.now()),
            token=config.http_token,
            precache=lambda request: precache(request, settings.services),
            origins=origin_rules(config),
        )
        serving = await stack.enter_async_context(http_server(config, services, connections))
        stack.push_async_callback(directory.drain, config.graceful_shutdown_timeout if config.graceful_shutdown else 0.0)
        log.info("ready", extra={"sip": [f"{entry.transport}:{entry.bound.port}" for entry in listeners], "http_port": serving.port})
        yield Running(config, directory, playbooks, listeners, serving.port, pool, gateway, endpoint, records, settings)


async def _shared_services(
    stack: AsyncExitStack,
    config: Config,
    world: World,
    environment: Mapping[str, str],
    pool: MediaPool,
    playbooks: Playbooks,
    policy: OutgoingPolicy,
    folders: SoundFolders,
) -> tuple[DatabaseRecords, CallDependencies]:
    """Start media processes, engines and records; what calls share of these, still without what the configuration says of calls."""
    http = await stack.enter_async_context(httpx.AsyncClient(timeout=15.0))
    guarded = await stack.enter_async_context(guarded_client(policy))
    await pool.start()
    stack.push_async_callback(_closed, "media", pool.close)
    local = EngineProcesses()
    stack.push_async_callback(_closed, "local engines", local.close)
    cache = AudioCache(Path(config.media_cache_path))
    speech = SpeechLibrary(cache)
    engines = Engines(Services(world, guarded, local, environment, lambda: guarded_client(policy)), prepared=speech)
    stack.push_async_callback(_closed, "engines", engines.close)
    stack.push_async_callback(_closed, "speech", speech.close)
    troubles = Troubles(world.clock)
    records = create_records(config.callrecord, http, world, troubles)
    stack.push_async_callback(_closed, "records", records.close)
    await records.start()
    sounds = SoundLibrary(cache, guarded, world.clock, Path.cwd(), folders)
    stack.push_async_callback(_closed, "sounds", sounds.close)
    return records, CallDependencies(
        world=world,
        engines=engines,
        http=http,
        guarded=guarded,
        records=records,
        playbooks=playbooks,
        sounds=sounds,
        speech=speech,
        join=pool.join,
        troubles=troubles,
    )


async def _reachable(stack: AsyncExitStack, config: Config, world: World, driver: SipDriver, resolver: Resolver) -> tuple[Listener, ...]:
    """Listen for SIP, and learn the public address where that is wanted."""
    listeners = await _listen(driver, config)
    if config.external_ip != "auto":
        return listeners
    public = PublicAddress(driver, resolver, world.randomness, config.stun_servers, driver.set_learnt_address)
    await public.learn()
    await stack.enter_async_context(_background(public.keep()))
    return driver.listeners


async def _closed(name: str, close: Callable[[], Awaitable[object]]) -> None:
    """Close one part, in time; what it raises is told, and keeps no other from closing."""
    closing, loop = asyncio.ensure_future(close()), asyncio.get_running_loop()
    deadline, cancelled = loop.time() + CLOSE_S, None
    while not closing.done() and (left_s := deadline - loop.time()) > 0:
        try:
            await asyncio.wait([closing], timeout=left_s)
        except asyncio.CancelledError as stop:  # a stop signal while a start that failed is undone: first things first
            cancelled = stop
    if not closing.done():
        closing.cancel()
        log.error("part does not close; it is left behind", extra={"part": name, "waited_s": CLOSE_S})
    elif not closing.cancelled() and (error := closing.exception()) is not None:
        log.error("part could not be closed", extra={"part": name}, exc_info=error)
    if cancelled is not None:
        raise cancelled


def _media_pool(config: Config, world: World) -> MediaPool:
    return MediaPool(
        n_workers=_n_workers(config),
        bind_ip=config.rtp_address,
        port_range=(config.rtp_start_port, config.rtp_end_port),
        clock=world.clock,
        logger=logging.getLogger("active_call.media"),
    )


def _trunk_watch(gateway: SipGateway) -> TrunkWatch:
    watch = TrunkWatch(gateway, list(gateway.settings.dial_plan.trunks))
    gateway.on_outside_answer = watch.handle
    return watch


def _sip(config: Config, world: World, pool: MediaPool, resolver: Resolver) -> tuple[Endpoint, SipGateway, SipDriver]:
    endpoint = Endpoint(
        EndpointConfig(
            listeners=(),
            user_agent=config.useragent,
            answer_options=config.enable_options_response,
            learns_public_address=config.auto_learn_public_address,
        ),
        world.randomness,
        RequestAdmission(admission_policy(config)),
    )
    settings = SipSettings(
        external_ip=config.public_ip,
        media=MediaSettings(
            bind_ip=config.rtp_address,
            codecs=tuple(name for name in config.codecs if name in SUPPORTED_CODECS) or ("pcmu", "pcma"),
            srtp_suites=config.srtp_suites,
            latching=config.enable_rtp_latching,
            rtp_timeout_s=config.rtp_timeout,
        ),
        dial_plan=dial_plan(config),
        outbound=outbound_policy(config),
    )
    gateway = SipGateway(endpoint, pool, settings, world, resolver)
    driver = SipDriver(
        endpoint,
        world.clock,
        resolver,
        server_tls=_server_tls(config),
        client_tls=_client_tls(config),
        client_tls_by_uri=_client_tls(config, checks_name=False),
        on_events=gateway.handle_events,
        certificate=_certificate(config),
        limits=ConnectionLimits(
            total=config.admission.max_connections,
            reserved=config.admission.max_connections // 4,
            stranger_idle_s=config.admission.stranger_idle,
        ),
        logger=logging.getLogger("active_call.sip"),
    )
    return endpoint, gateway, driver


def _explain(config: Config, question: dict[str, str], endpoint: Endpoint, now: float) -> dict[str, Any]:
    return explain(config, Question(**question), endpoint.door, now, endpoint.registrars(now)).as_json()


def _own_addresses(config: Config, listeners: tuple[Listener, ...]) -> list[str]:
    """Where we can be reached: what peers are told, and what is bound; for a wildcard, the address that faces the world."""
    bound = [entry.bound.host for entry in listeners]
    own = [local_address_towards(SOMEWHERE_PUBLIC) if is_wildcard(host) else host for host in bound]
    return [*([config.public_ip] if config.public_ip else []), *own]


def _listen_specs(config: Config) -> list[ListenSpec]:
    public_ip = config.public_ip
    specs = [ListenSpec("udp", config.addr, config.udp_port, public_ip), ListenSpec("tcp", config.addr, config.udp_port, public_ip)]
    if config.tls_port is not None:
        specs.append(ListenSpec("tls", config.addr, config.tls_port, public_ip))
    if config.ws_port is not None:
        specs.append(ListenSpec("ws", config.addr, config.ws_port, public_ip))
    if config.wss_port is not None:
        specs.append(ListenSpec("wss", config.addr, config.wss_port, public_ip))
    return specs


def _refuse_taken_ports(config: Config) -> None:
    """Tell a port that another process has before anything is started. Whoever takes one later is told when it is opened."""
    taken = taken_ports(_listen_specs(config)) or taken_http_port(config.http_addr, config.http_host, config.http_port)
    if taken:
        raise ConfigError(*taken[0])


async def _listen(driver: SipDriver, config: Config) -> tuple[Listener, ...]:
    try:
        return await driver.listen(_listen_specs(config))
    except TransportError as error:
        taken = taken_ports(_listen_specs(config))
        raise ConfigError(*taken[0]) if taken else error from error


def _certificate(config: Config) -> CertificateFiles | None:
    if config.tls_cert_file is None or config.tls_key_file is None:
        return None
    return CertificateFiles(Path(config.tls_cert_file), Path(config.tls_key_file))


def _server_tls(config: Config) -> ssl.SSLContext | None:
    files = _certificate(config)
    if (config.tls_port is None and config.wss_port is None) or files is None:
        return None
    try:
        return server_context(files)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("tls_cert_file", f"{config.tls_cert_file}: {error}") from error


def _client_tls(config: Config, *, checks_name: bool = True) -> ssl.SSLContext:
    return client_context(
        ca_file=config.tls_ca_file,
        certificate=config.tls_client_cert_file,
        key=config.tls_client_key_file,
        verify=config.tls_verify,
        checks_name=checks_name,
    )


def _router(config: Config, http: httpx.AsyncClient) -> Router | None:
    match config.handler:
        case None:
            return None
        case PlaybookHandler() as handler:
            return playbook_router(handler)
        case WebhookHandler() as handler:
            return WebhookRouter(handler.all_urls, handler.method, handler.headers, http)
        case handler:
            return PythonRouter(handler.target)


async def _warm(config: Config, playbooks: Playbooks, engines: Engines) -> None:
    """Read every configured playbook once and start its engines: a mistake stops the start, and the first caller does not wait."""
    await asyncio.to_thread(lambda: [hold_melody(rate_hz) for rate_hz in (8000, 16_000)])
    if not isinstance(config.handler, PlaybookHandler):
        with contextlib.suppress(ConfigError):  # whoever decides about calls may name other engines
            await engines.warm(config.asr or AsrOption(), config.tts or TtsOption())
        return
    for name in (*(rule.playbook for rule in config.handler.rules), config.handler.default):
        if name:
            book = playbooks.load(name)
            choice = choose_speech(merged(book.option, default_option(config)), book)
            await engines.warm(choice.asr, choice.tts, *([choice.llm] if choice.llm else []))


def services_by(config: Config, shared: CallDependencies) -> CallDependencies:
    """What calls use, as `config` has it."""
    return replace(
        shared,
        recording=_recording_policy(config),
        defaults=default_option(config),
        accept_timeout_s=config.accept_timeout,
        recordings=Path(config.recording.path),
    )


def _recording_policy(config: Config) -> RecordingPolicy | None:
    chosen = config.recording
    if not chosen.enabled:
        return None
    check_pattern(chosen.filename_pattern)

    def path_for(facts: CallFacts) -> Path:
        return recording_path(
            Path(chosen.path),
            chosen.filename_pattern,
            session_id=facts.session_id,
            caller=facts.caller,
            callee=facts.callee,
            at=facts.started_at,
            format_name=chosen.format,
        )

    return RecordingPolicy(chosen.auto_start, recorded_rate_hz(chosen.samplerate), path_for, chosen.ptime)


def _n_workers(config: Config) -> int:
    if config.media_workers == "auto":
        return max(1, (os.cpu_count() or 2) - 1)
    return config.media_workers


def _playbook_folder() -> Path:
    folder = Path("config/playbook")
    return folder if folder.is_dir() else Path("playbooks")


def _kept(directory: CallRegistry, records: DatabaseRecords) -> dict[str, Any]:
    return {"records": {**records.health(), "refused_unrecorded": directory.refused_calls.n_unrecorded}}


def _health(
    directory: CallRegistry,
    pool: MediaPool,
    gateway: SipGateway,
    registrations: Registrations,
    watch: TrunkWatch,
    troubles: Troubles,
) -> dict[str, Any]:
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
        "status": "draining" if directory.is_draining else "ok" if healthy else "degraded",
        "problems": problems,
        "version": __version__,
        "calls": directory.n_calls,
        "calls_total": directory.n_calls_total,
        "sip": {"calls": endpoint.n_calls, "transactions": endpoint.n_transactions, "dialogs": endpoint.n_dialogs},
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
    """Calls and minutes that were placed within the last hour."""
    n_calls, minutes = gateway.usage.sums()
    by_trunk = {trunk.name: gateway.usage.sums(trunk.name) for trunk in gateway.settings.dial_plan.trunks}
    trunks = {name: {"calls_last_hour": n, "minutes_last_hour": round(spent, 1)} for name, (n, spent) in by_trunk.items()}
    return {"calls_last_hour": n_calls, "minutes_last_hour": round(minutes, 1), "trunks": trunks}


def _connections(driver: SipDriver) -> dict[str, Any]:
    return {"connections": driver.n_connections, "connections_refused": dict(driver.refusals)}


@asynccontextmanager
async def _background(work: Any) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch_certificate(driver: SipDriver) -> None:
    """Certbot renews by replacing the files; new connections get the new certificate."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_S)
        driver.reload_certificate()


async def _watch_minutes(gateway: SipGateway) -> None:
    """Calls that we have placed end when the minutes of an hour are used up."""
    while True:
        await asyncio.sleep(MINUTES_CHECK_S)
        gateway.end_used_up()


async def _watch_admission(directory: CallRegistry, gateway: SipGateway) -> None:
    """While the server is full or draining, the endpoint itself refuses new calls and OPTIONS with 503, which costs next to nothing."""
    while True:
        gateway.endpoint.set_accepting(directory.is_accepting)
        gateway.refusals.flush()
        await asyncio.sleep(ADMISSION_CHECK_S)
