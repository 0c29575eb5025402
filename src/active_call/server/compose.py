"""Wires the whole server by hand: the only place that knows everybody.

A Config enters; `serve` runs until it is told to stop. Order of start: media processes, engines, SIP, HTTP. Order of stop: no new calls,
calls drained, HTTP, SIP, engines, media.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from active_call import __version__
from active_call.api.app import ApiServices, create_app
from active_call.base.errors import ConfigError
from active_call.base.world import World
from active_call.call.directory import Directory
from active_call.call.options import choose_speech, merged
from active_call.call.precaching import precache
from active_call.call.routing import Playbooks, PythonRouter, Router, WebhookRouter
from active_call.call.services import CallServices, RecordingPolicy
from active_call.call.state import CallFacts
from active_call.contract.options import AsrOption, TtsOption
from active_call.legs.registrations import Registrations
from active_call.legs.sip import SOMEWHERE_PUBLIC, SipGateway, SipSettings
from active_call.legs.sip_media import MediaSettings
from active_call.legs.trunk_watch import TrunkWatch
from active_call.media.client import MediaPool
from active_call.media.hold_melody import hold_melody
from active_call.net.addresses import is_wildcard, local_address_towards
from active_call.net.certificates import CertificateFiles, client_context, server_context
from active_call.net.limits import ConnectionLimits
from active_call.net.public_address import PublicAddress
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.providers.base import Services
from active_call.providers.local_engines import EngineProcesses
from active_call.providers.registry import Engines
from active_call.server.config import Config, default_option, find_playbook
from active_call.server.config_sections import PlaybookHandler, WebhookHandler
from active_call.server.explain import Question, explain, playbook_router
from active_call.server.trunk_setup import SUPPORTED_CODECS, accounts, admission_policy, dial_plan, trunk_warnings
from active_call.sip.door import Door
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import EndpointConfig, Listener
from active_call.store.audio_cache import AudioCache
from active_call.store.recordings import check_pattern, recorded_rate_hz, recording_path
from active_call.store.records import RecordSink, create_sink
from active_call.store.sounds import SoundLibrary
from active_call.store.speech import SpeechLibrary

log = logging.getLogger("active_call.server")

CERTIFICATE_CHECK_S = 60.0
ADMISSION_CHECK_S = 0.25


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs: what the demo, the CLI and tests may look at."""

    config: Config
    directory: Directory
    playbooks: Playbooks
    listeners: tuple[Listener, ...]
    http_port: int
    pool: MediaPool
    gateway: SipGateway
    endpoint: Endpoint


@asynccontextmanager
async def running(config: Config, environment: Mapping[str, str] | None = None, world: World | None = None) -> AsyncIterator[Running]:
    """Start everything, yield, and stop everything in order. Raises ConfigError or TransportError when something cannot start."""
    world = world or World()
    environment = dict(os.environ if environment is None else environment)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=15.0))
        pool = _media_pool(config, world)
        await pool.start()
        stack.push_async_callback(pool.close)
        local = EngineProcesses()
        stack.push_async_callback(local.close)
        cache = AudioCache(Path(config.media_cache_path))
        speech = SpeechLibrary(cache)
        engines = Engines(Services(world, http, local, environment), shelf=speech)
        stack.push_async_callback(engines.close)
        stack.push_async_callback(speech.close)
        sink = create_sink(config.callrecord, http)
        stack.push_async_callback(sink.close)

        playbooks = Playbooks(lambda name: find_playbook(name, config), environment)
        resolver = Resolver(world)
        endpoint, gateway, driver = _sip(config, world, pool, resolver)
        sounds = SoundLibrary(cache, http, world.clock, Path.cwd())
        stack.push_async_callback(sounds.close)
        call_services = _call_services(config, world, engines, http, sink, playbooks, sounds, speech, pool)
        directory = Directory(call_services, _router(config, http), gateway, pool.has_room, max_calls=config.admission.max_calls)
        registrations = Registrations(gateway, accounts(config))
        directory.on_refused = lambda rule: gateway.refusals.refused.update((rule,))
        gateway.connect(driver, directory.handle_incoming, registrations.handle)
        await _warm(config, playbooks, engines)
        stack.push_async_callback(driver.close)
        listeners = await driver.listen(_listen_specs(config))
        if config.external_ip == "auto":
            public = PublicAddress(driver, resolver, world.randomness, config.stun_servers, driver.set_learnt_address)
            await public.learn()
            await stack.enter_async_context(_background(public.keep()))
            listeners = driver.listeners
        stack.push_async_callback(registrations.close)
        registrations.start()
        await stack.enter_async_context(_background(_watch_certificate(driver)))
        await stack.enter_async_context(_background(_watch_admission(directory, gateway)))
        watch = _trunk_watch(gateway)
        await stack.enter_async_context(_background(watch.run()))
        for warning in trunk_warnings(config, _own_addresses(config, listeners)):
            log.warning("trunks", extra={"warning": warning})

        services = ApiServices(
            directory=directory,
            playbooks=playbooks,
            playbook_folder=_playbook_folder(),
            records=sink,
            health=lambda: _health(directory, pool, gateway, registrations, watch) | _connections(driver),
            version=__version__,
            explain=lambda question: _explain(config, question, endpoint, world.clock.now()),
            token=config.http_token,
            precache=lambda request: precache(request, call_services),
        )
        http_port = await stack.enter_async_context(_http_server(config, services))
        stack.push_async_callback(directory.drain, config.graceful_shutdown_timeout if config.graceful_shutdown else 0.0)
        log.info("ready", extra={"sip": [f"{entry.transport}:{entry.bound.port}" for entry in listeners], "http_port": http_port})
        yield Running(config, directory, playbooks, listeners, http_port, pool, gateway, endpoint)


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
        Door(admission_policy(config)),
    )
    settings = SipSettings(
        external_ip=config.public_ip,
        media=MediaSettings(
            bind_ip=config.rtp_address,
            codecs=tuple(name for name in config.codecs if name in SUPPORTED_CODECS) or ("pcmu", "pcma"),
            srtp_suites=config.srtp_suites,
            latching=config.enable_rtp_latching,
        ),
        dial_plan=dial_plan(config),
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


def _call_services(
    config: Config,
    world: World,
    engines: Engines,
    http: httpx.AsyncClient,
    sink: RecordSink,
    playbooks: Playbooks,
    sounds: SoundLibrary,
    speech: SpeechLibrary,
    pool: MediaPool,
) -> CallServices:
    recording = None
    if config.recording.enabled:
        chosen = config.recording
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

        recording = RecordingPolicy(chosen.auto_start, recorded_rate_hz(chosen.samplerate), path_for, chosen.ptime)
    return CallServices(
        world=world,
        engines=engines,
        http=http,
        records=sink,
        playbooks=playbooks,
        recording=recording,
        defaults=default_option(config),
        accept_timeout_s=config.accept_timeout,
        sounds=sounds,
        speech=speech,
        join=pool.join,
    )


def _n_workers(config: Config) -> int:
    if config.media_workers == "auto":
        return max(1, (os.cpu_count() or 2) - 1)
    return config.media_workers


def _playbook_folder() -> Path:
    folder = Path("config/playbook")
    return folder if folder.is_dir() else Path("playbooks")


def _health(directory: Directory, pool: MediaPool, gateway: SipGateway, registrations: Registrations, watch: TrunkWatch) -> dict[str, Any]:
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
    healthy = all(worker.alive for worker in pool.workers)
    return {
        "status": "draining" if directory.is_draining else "ok" if healthy else "degraded",
        "version": __version__,
        "calls": len(directory.sessions),
        "calls_total": directory.n_calls_total,
        "sip": {"calls": endpoint.n_calls, "transactions": endpoint.n_transactions, "dialogs": endpoint.n_dialogs},
        "registrations": registrations.states,
        "trunks": {
            trunk.name: {"calls": endpoint.n_calls_by_trunk.get(trunk.name, 0), "state": watch.states.get(trunk.name, "not watched")}
            for trunk in gateway.settings.dial_plan.trunks
        },
        "refusals": dict(gateway.refusals.refused),
        "dropped": dict(gateway.refusals.dropped),
        "media": media,
    }


def _connections(driver: SipDriver) -> dict[str, Any]:
    return {"connections": driver.n_connections, "connections_refused": dict(driver.refusals)}


@asynccontextmanager
async def _http_server(config: Config, services: ApiServices) -> AsyncIterator[int]:
    listening = _http_socket(config)
    settings = uvicorn.Config(create_app(services), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(settings)
    # The process's signals are the CLI's.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[listening]), name="http")
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listening.close()


def _http_socket(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.http_host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.http_host, config.http_port))
    except OSError as error:
        listening.close()
        raise ConfigError("http_addr", f"cannot listen on {config.http_addr}: {error.strerror}") from error
    return listening


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


async def _watch_admission(directory: Directory, gateway: SipGateway) -> None:
    """While the server is full or draining, the endpoint itself refuses new calls and OPTIONS with 503, which costs next to nothing."""
    while True:
        gateway.endpoint.set_accepting(directory.is_accepting)
        gateway.refusals.flush()
        await asyncio.sleep(ADMISSION_CHECK_S)
