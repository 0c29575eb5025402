"""Creates the SIP side of a server from its configuration: endpoint, gateway, driver, listening sockets, TLS contexts."""

from __future__ import annotations

import logging
import ssl
from functools import cache, partial
from pathlib import Path

from active_call.base.errors import ConfigError, TransportError
from active_call.base.world import World
from active_call.legs.sip.gateway import SipGateway, SipSettings
from active_call.legs.sip.media import MediaSettings
from active_call.media.pool.pool import MediaPool
from active_call.net.certificates import CertificateFiles, MakeContext, client_context, server_context
from active_call.net.limits import ConnectionLimits
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.server.config.config import Config
from active_call.server.listening import taken_http_port, taken_ports
from active_call.server.setup.trunks import SUPPORTED_CODECS, admission_policy, dial_plan, outbound_policy
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import EndpointConfig, Listener


def make_sip(config: Config, world: World, pool: MediaPool, resolver: Resolver) -> tuple[Endpoint, SipGateway, SipDriver]:
    """The endpoint, its gateway and the driver of its sockets, from the configuration; nothing listens yet."""
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
            web_hosts=config.http_hosts,
        ),
        logger=logging.getLogger("active_call.sip"),
    )
    return endpoint, gateway, driver


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


def refuse_taken_ports(config: Config) -> None:
    """Report a port that another process has, before anything is started. If a port is taken later, opening it reports that."""
    taken = taken_ports(_listen_specs(config)) or taken_http_port(config.http_addr, config.http_host, config.http_port)
    if taken:
        raise ConfigError(*taken[0])


async def listen(driver: SipDriver, config: Config) -> tuple[Listener, ...]:
    """Listen for SIP; returns the listeners. Raises ConfigError if a port is already used, TransportError otherwise."""
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


def _client_tls(config: Config, *, checks_name: bool = True) -> MakeContext:
    """Makes the context at the first call: most servers open no TLS connection at their start, and loading authorities takes 30 ms."""
    make = partial(
        client_context,
        ca_file=config.tls_ca_file,
        certificate=config.tls_client_cert_file,
        key=config.tls_client_key_file,
        verify=config.tls_verify,
        checks_name=checks_name,
    )
    return cache(make)
