"""Wires the whole server by hand: the only module that knows every part.

A Config enters; `serve` runs until it is stopped. Order of start: a check of the ports, media processes, engines, records, SIP, HTTP.
Order of stop: no new calls, calls drained, HTTP, SIP, records, engines, media. The order is the same on every exit: a start that fails
half-way drains the calls that have come meanwhile. Every step has a time limit (`closing`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct
from msgspec.structs import replace

from active_call.agent.playbook.scenes import Playbook
from active_call.api.connections import Connections
from active_call.api.console_data.facts import ConsoleFacts
from active_call.api.services import DEFAULT_ICE_SERVERS, ApiServices
from active_call.base.bulk_input import BulkInput
from active_call.base.child_processes import Programs, StartsChildren
from active_call.base.errors import ActiveCallError, ConfigError
from active_call.base.trust import NO_TRUST
from active_call.base.urgent_input import UrgentInput
from active_call.base.version import __version__
from active_call.base.world import World
from active_call.call.conversation.mcp_tools import settings_of
from active_call.call.conversation.posthook import Posthooks
from active_call.call.dependencies import CallDependencies, RecordingPolicy
from active_call.call.opening.options import choose_speech, merged
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Playbooks, PythonRouter, Router, WebhookRouter
from active_call.call.speech.precaching import precache
from active_call.call.state import CallFacts
from active_call.contract.options import AsrOption, TtsOption
from active_call.legs.sip.gateway import SOMEWHERE_PUBLIC, SipGateway
from active_call.legs.sip.registrations import Registrations
from active_call.legs.trunks.watch import TrunkWatch
from active_call.media.pool.pool import MediaPool
from active_call.net.addresses import is_wildcard, local_address_towards
from active_call.net.descriptors import open_files_limit, raise_descriptor_limit
from active_call.net.outgoing import GuardedClients, no_cookies
from active_call.net.outgoing_socket import OutgoingSockets
from active_call.net.public_address import PublicAddress
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import SipDriver
from active_call.providers.base import ChatModel, Services
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.mcp.pool import McpPool
from active_call.providers.registry import Engines
from active_call.providers.settings import LlmSettings
from active_call.server.capacity import SHORT_FOR_S, capacity_warnings, n_media_processes, shortage_text
from active_call.server.certificate_watch import CertificateWatch, served_certificate
from active_call.server.closing import PartsClosing, background
from active_call.server.config.config import Config, default_option, key_variables
from active_call.server.config.sections import PlaybookHandler, WebhookHandler
from active_call.server.explain import Question, explain, playbook_router
from active_call.server.http.console_facts import console_facts
from active_call.server.http.health import kept, media_and_calls, sip_connections
from active_call.server.http.server import HttpServer, http_connections, http_health, http_server, origin_rules
from active_call.server.http.settings import HttpSettings
from active_call.server.http.text_talks import begin_talk
from active_call.server.live_settings import LiveSettings
from active_call.server.load.admission_watch import CallLoad
from active_call.server.logs import log_health
from active_call.server.playbook_files import find_playbook, playbook_folder
from active_call.server.setup.admission import admission_watch, has_room
from active_call.server.setup.browsers import browser_settings, stream_settings
from active_call.server.setup.mcp import mcp_settings
from active_call.server.setup.outside import outgoing_policy, read_shipped_facts, sound_folders
from active_call.server.setup.sip import listen, make_sip, refuse_taken_ports
from active_call.server.setup.spending import configure_spending, kept_spending
from active_call.server.setup.trunks import accounts, trunk_warnings
from active_call.server.setup.webhooks import make_webhooks
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Listener
from active_call.store.audio_cache import AudioCache
from active_call.store.create_records import create_records
from active_call.store.database.records import DatabaseRecords
from active_call.store.knowledge.library import KnowledgeLibrary
from active_call.store.recordings import check_pattern, recorded_rate_hz, recording_path
from active_call.store.sounds import SoundLibrary
from active_call.store.speech import SpeechLibrary
from active_call.store.troubles import Troubles
from active_call.store.webhook_delivery import WebhookDelivery

log = logging.getLogger("active_call.server")

CERTIFICATE_CHECK_S = 60.0
MINUTES_CHECK_S = 1.0


class Running(Struct, frozen=True):
    """A running server: what the demo, the CLI and tests may use."""

    config: Config
    registry: CallRegistry
    playbooks: Playbooks
    listeners: tuple[Listener, ...]
    http_port: int
    pool: MediaPool
    gateway: SipGateway
    endpoint: Endpoint
    records: DatabaseRecords
    environment: Mapping[str, str]
    """The environment in which engines find their keys."""
    settings: LiveSettings
    """The settings that can change during calls."""
    hurry: Callable[[], None]
    """End all calls now, and close everything quickly once the stop has begun."""


@asynccontextmanager
async def running(
    config: Config,
    environment: Mapping[str, str] | None = None,
    world: World | None = None,
    *,
    wrap_router: Callable[[Router | None], Router] | None = None,
    children: StartsChildren | None = None,
) -> AsyncIterator[Running]:
    """Start everything, yield, and stop everything in order. Raises ConfigError or TransportError when something cannot start.

    `wrap_router` gets the configured router and returns the one to use. `children` starts media and engine processes.
    """
    world, children = world or World(), children or Programs()
    environment = dict(os.environ if environment is None else environment)
    connections = http_connections(config, raise_descriptor_limit(), world.clock)
    refuse_taken_ports(config)
    urgent = UrgentInput(world.clock)
    bulk = BulkInput(world.clock, before_item=urgent.read)
    pool = _media_pool(config, world, children, urgent, bulk)
    async with AsyncExitStack() as stack:
        playbooks = Playbooks(lambda name: find_playbook(name, settings.config), environment)
        load, closing = CallLoad(bulk), PartsClosing()
        records, engines, shared = await _shared_services(stack, closing, config, world, environment, pool, playbooks, children, load)
        shared, resolver = replace(shared, before_step=urgent.read), Resolver(world)
        endpoint, gateway, driver = make_sip(config, world, pool, resolver)
        urgent.reader = driver.read_datagrams
        make_router = _router_maker(shared, wrap_router)
        services_of = partial(services_by, shared=shared, engines=engines)
        registry = _registry(config, services_of(config), make_router(config), gateway, partial(has_room, load, pool, engines))
        admission = admission_watch(load, registry, pool, endpoint, gateway)
        registrations = Registrations(gateway, accounts(config))
        gateway.connect(driver, admission.judging(registry.handle_incoming), registrations.handle)
        watch = _trunk_watch(gateway)
        settings = LiveSettings(
            config, registry, gateway, registrations, watch, driver, playbooks, environment, engines,
            make_services=services_of,
            make_router=make_router,
            warm=lambda config: _warm(config, playbooks, engines),
            http=HttpSettings(config, world.clock),
        )  # fmt: skip
        await settings.warm(config)
        stack.push_async_callback(closing.close, "SIP", driver.close)
        stack.push_async_callback(registry.drain, 0.0)  # for a start that fails after this: calls come as soon as SIP listens
        listeners = await _reachable(stack, config, world, driver, resolver)
        stack.push_async_callback(closing.close, "registrations", registrations.close)
        registrations.start()
        delivery, webhooks = make_webhooks(config, shared.http, records, world)
        registry.on_new_call = webhooks.follow
        stack.push_async_callback(closing.close, "webhooks", webhooks.close)
        expiry = CertificateWatch(served_certificate(config), shared.troubles, world.clock).run()
        watching = (_watch_certificate(driver, settings.http), expiry, admission.run(), watch.run(), _watch_minutes(gateway))
        warming = _warm_mcp(config, playbooks, shared.mcp)
        await _keep_watch(stack, config, listeners, (*watching, shared.troubles.watch(), warming, delivery.run()))
        health = partial(_health, registry, records, pool, gateway, registrations, watch, shared.troubles, driver, connections, load)
        services = _api_services(settings, registry, records, endpoint, world, health, pool, delivery)
        serving = await stack.enter_async_context(http_server(config, services, connections, settings.http, bulk))
        stack.push_async_callback(registry.drain, config.graceful_shutdown_timeout if config.graceful_shutdown else 0.0)
        log.info("ready", extra={"sip": [f"{entry.transport}:{entry.bound.port}" for entry in listeners], "http_port": serving.port})
        hurry = partial(_hurry, registry, serving, closing)
        yield Running(config, registry, playbooks, listeners, serving.port, pool, gateway, endpoint, records, environment, settings, hurry)


def _hurry(registry: CallRegistry, serving: HttpServer, closing: PartsClosing) -> None:
    registry.end_calls_now()
    serving.hurry()
    closing.hurry()


def _router_maker(shared: CallDependencies, wrap_router: Callable[[Router | None], Router] | None) -> Callable[[Config], Router | None]:
    def make_router(config: Config) -> Router | None:
        configured = _router(config, shared.http)
        return configured if wrap_router is None else wrap_router(configured)

    return make_router


def _health(
    registry: CallRegistry,
    records: DatabaseRecords,
    pool: MediaPool,
    gateway: SipGateway,
    registrations: Registrations,
    watch: TrunkWatch,
    troubles: Troubles,
    driver: SipDriver,
    connections: Connections,
    load: CallLoad,
) -> dict[str, Any]:
    """The content of `/health`."""
    return (
        kept(registry, records)
        | media_and_calls(registry, pool, gateway, registrations, watch, troubles)
        | sip_connections(driver)
        | http_health(connections)
        | log_health()
        | {"load": load.describe()}
    )


async def _shared_services(
    stack: AsyncExitStack,
    closing: PartsClosing,
    config: Config,
    world: World,
    environment: Mapping[str, str],
    pool: MediaPool,
    playbooks: Playbooks,
    children: StartsChildren,
    load: CallLoad,
) -> tuple[DatabaseRecords, Engines, CallDependencies]:
    """Start media processes, engines and records. The services of calls do not have the call settings of the configuration yet."""
    preparing = asyncio.gather(asyncio.to_thread(httpx.create_ssl_context), asyncio.to_thread(read_shipped_facts))
    await pool.start()
    stack.push_async_callback(closing.close, "media", pool.close)
    tls, _ = await preparing
    http = httpx.AsyncClient(timeout=15.0, verify=tls, cookies=no_cookies())
    stack.push_async_callback(closing.close, "HTTP client", http.aclose)
    clients = GuardedClients(outgoing_policy(config, environment), tls)
    guarded = clients.shared()
    stack.push_async_callback(closing.close, "outgoing requests", clients.close)
    local = EngineProcesses(children=children, is_strained=lambda: load.is_strained)
    stack.push_async_callback(closing.close, "local engines", local.close)
    cache = AudioCache(Path(config.media_cache_path))
    engines = Engines(Services(world, guarded, local, environment, clients.new, clients), prepared=(speech := SpeechLibrary(cache)))
    stack.push_async_callback(closing.close, "engines", engines.close)
    stack.push_async_callback(closing.close, "speech", speech.close)
    troubles = Troubles(world.clock)
    pool.on_shortage = lambda reason: troubles.note(f"media {reason}", shortage_text(config, reason), lasts_s=SHORT_FOR_S)
    spending = await kept_spending(stack, closing, config, world, troubles)
    records = create_records(config.callrecord, http, world, troubles)
    stack.push_async_callback(partial(closing.close, is_vital=True), "records", records.close)
    await records.start()
    sounds = SoundLibrary(cache, guarded, world.clock, Path.cwd(), sound_folders(config), clients)
    stack.push_async_callback(closing.close, "sounds", sounds.close)
    posthooks = Posthooks(http, guarded, partial(_model_of, engines))
    stack.push_async_callback(closing.close, "posthooks", posthooks.close)
    knowledge, mcp = _tool_services(stack, closing, config, world)
    services = CallDependencies(
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
        spending=spending,
        mcp=mcp,
        knowledge=knowledge,
        posthooks=posthooks,
        open_socket=OutgoingSockets(outgoing_policy(config, environment), tls).open,
    )
    return records, engines, services


def _tool_services(stack: AsyncExitStack, closing: PartsClosing, config: Config, world: World) -> tuple[KnowledgeLibrary, McpPool]:
    knowledge = KnowledgeLibrary(world.clock)
    stack.push_async_callback(closing.close, "knowledge", knowledge.close)
    mcp = McpPool(mcp_settings(config), world.clock)
    stack.push_async_callback(closing.close, "mcp", mcp.close)
    return knowledge, mcp


def _model_of(engines: Engines, playbook: Playbook) -> ChatModel:
    """The model of a playbook; for one without a model (a script), the default. Raises ConfigError."""
    return engines.get_responder(choose_speech(playbook.option, playbook).llm or LlmSettings(), playbook.trust or NO_TRUST)


def _api_services(
    settings: LiveSettings,
    registry: CallRegistry,
    records: DatabaseRecords,
    endpoint: Endpoint,
    world: World,
    health: Callable[[], dict[str, Any]],
    pool: MediaPool,
    delivery: WebhookDelivery | None,
) -> ApiServices:
    return ApiServices(
        registry=registry,
        playbooks=settings.playbooks,
        playbook_folder=playbook_folder(),
        records=records,
        health=health,
        version=__version__,
        explain=lambda question: _explain(settings.config, question, endpoint, world.clock.now()),
        access=settings.http.access,
        precache=lambda request: precache(request, settings.services, settings.engines),
        begin_talk=lambda playbook, on_event: begin_talk(playbook, settings.services, on_event),
        media=pool,
        browsers=browser_settings(settings.config),
        streams=stream_settings(settings.config),
        ice_servers=[server.as_rtc() for server in settings.config.ice_servers] or DEFAULT_ICE_SERVERS,
        origins=origin_rules(settings.config),
        console=_console_facts(settings),
        webhooks=delivery,
    )


def _console_facts(settings: LiveSettings) -> ConsoleFacts:
    gateway = settings.gateway
    return console_facts(
        lambda: settings.config, settings.registrations, settings.watch, gateway.endpoint, gateway.refusals.refused, settings.environment
    )


def _registry(
    config: Config, services: CallDependencies, router: Router | None, gateway: SipGateway, has_room: Callable[[CallRegistry], bool]
) -> CallRegistry:
    """The registry of calls; refused calls get a record, and the gateway counts them."""
    registry = CallRegistry(services, router, gateway, lambda: has_room(registry), max_calls=config.admission.max_calls)
    registry.on_refused = lambda rule: gateway.refusals.refused.update((rule,))
    gateway.on_refused_call = registry.refused_calls.note
    return registry


async def _keep_watch(stack: AsyncExitStack, config: Config, listeners: tuple[Listener, ...], works: tuple[Any, ...]) -> None:
    """Start the background tasks, and report doubtful settings of trunks."""
    for work in works:
        await stack.enter_async_context(background(work))
    for warning in capacity_warnings(config, open_files_limit(), n_media_processes(config)):
        log.warning("capacity", extra={"warning": warning})
    for warning in trunk_warnings(config, _own_addresses(config, listeners)):
        log.warning("trunks", extra={"warning": warning})


async def _reachable(stack: AsyncExitStack, config: Config, world: World, driver: SipDriver, resolver: Resolver) -> tuple[Listener, ...]:
    """Listen for SIP, and learn the public address if configured."""
    listeners = await listen(driver, config)
    if config.external_ip != "auto":
        return listeners
    public = PublicAddress(driver, resolver, world.randomness, config.stun_servers, driver.set_learnt_address)
    await public.learn()
    await stack.enter_async_context(background(public.keep()))
    return driver.listeners


def _media_pool(config: Config, world: World, children: StartsChildren, urgent: UrgentInput, bulk: BulkInput) -> MediaPool:
    return MediaPool(
        n_workers=n_media_processes(config),
        bind_ip=config.rtp_address,
        port_range=(config.rtp_start_port, config.rtp_end_port),
        clock=world.clock,
        logger=logging.getLogger("active_call.media"),
        children=children,
        before_step=urgent.read,
        bulk=bulk,
    )


def _trunk_watch(gateway: SipGateway) -> TrunkWatch:
    watch = TrunkWatch(gateway, list(gateway.settings.dial_plan.trunks))
    gateway.on_outside_answer = watch.handle
    return watch


def _explain(config: Config, question: dict[str, str], endpoint: Endpoint, now: float) -> dict[str, Any]:
    return explain(config, Question(**question), endpoint.admission, now, endpoint.registrars(now)).as_json()


def _own_addresses(config: Config, listeners: tuple[Listener, ...]) -> list[str]:
    """Our addresses: the advertised and the bound ones; for a wildcard, the address of the default route."""
    bound = [entry.bound.host for entry in listeners]
    own = [local_address_towards(SOMEWHERE_PUBLIC) if is_wildcard(host) else host for host in bound]
    return [*([config.public_ip] if config.public_ip else []), *own]


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
    """Read every configured playbook once and create its engines, so that a mistake stops the start. Models load if configured."""
    ready = engines.warm if config.load_engines == "start" else engines.create
    if not isinstance(config.handler, PlaybookHandler):
        with contextlib.suppress(ConfigError):  # a webhook or a function may name other engines
            await ready(config.asr or AsrOption(), config.tts or TtsOption())
        return
    for name in (*(rule.playbook for rule in config.handler.rules), config.handler.default):
        if name:
            book = playbooks.load(name)
            choice = choose_speech(merged(book.option, default_option(config)), book)
            trust = (book.trust or NO_TRUST).with_keys(book.option.keys)
            await ready(choice.asr, choice.tts, *([choice.llm] if choice.llm else []), trust=trust)


async def _warm_mcp(config: Config, playbooks: Playbooks, pool: McpPool | None) -> None:
    """Connect the MCP servers of the configured playbooks, so that the first caller's agent has their tools. Failures are logged there."""
    if pool is None or not isinstance(config.handler, PlaybookHandler):
        return
    for name in (*(rule.playbook for rule in config.handler.rules), config.handler.default):
        for option in playbooks.load(name).mcp if name else ():
            settings = settings_of(option, pool.configured)
            if settings is not None:
                with contextlib.suppress(ActiveCallError):
                    await pool.connection(settings).tools()


def services_by(config: Config, shared: CallDependencies, engines: Engines) -> CallDependencies:
    """The services of calls for `config`."""
    configure_spending(shared.spending, config)
    engines.use_key_sets(key_variables(config))
    return replace(
        shared,
        trunk_keys={trunk.name: trunk.keys for trunk in config.trunks if trunk.keys},
        recording=_recording_policy(config),
        defaults=default_option(config),
        accept_timeout_s=config.accept_timeout,
        recordings=Path(config.recording.path),
        load_engines=engines.load if config.load_engines == "call" else None,
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


async def _watch_certificate(driver: SipDriver, http: HttpSettings) -> None:
    """Certbot replaces the files on renewal; new connections get the new certificate."""
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_S)
        driver.reload_certificate()
        http.reload_certificate()


async def _watch_minutes(gateway: SipGateway) -> None:
    """Outbound calls end when the hour's minutes are used up."""
    while True:
        await asyncio.sleep(MINUTES_CHECK_S if gateway.endpoint.n_calls else 5 * MINUTES_CHECK_S)
        gateway.end_used_up()
