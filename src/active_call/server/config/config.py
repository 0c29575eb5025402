"""The config file `active-call.toml`: every top-level key, with its default and meaning.

The tables are in `sections`, checks of several keys together in `checks`; `loading` reads the file. Relative paths are relative to the
working directory, as in the Rust program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from active_call.base.version import __version__
from active_call.contract.options import CallOption
from active_call.providers.entry_points import all_providers
from active_call.providers.key_sets import variables_of_set
from active_call.server.config import cost_sections as cost
from active_call.server.config import sections, values
from active_call.server.config import trunk_sections as trunking
from active_call.server.config.values import parse_host_port

PLACEHOLDER_IPS = ("YOUR_PUBLIC_IP", "YOUR_SERVER_PUBLIC_IP")
LogLevel = Literal["trace", "debug", "info", "warn", "warning", "error"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _without_placeholder(value: object) -> object:
    """The guides' files load as printed: this machine's own address replaces their placeholder (`config_warnings` reports it)."""
    return None if isinstance(value, str) and value.strip("<>${}") in PLACEHOLDER_IPS else value


class Config(values.Section):
    """All settings of the server. The defaults make a server on UDP/TCP 25060 and HTTP 8080."""

    # -- SIP
    addr: values.BindIp = "0.0.0.0"
    """Address of this machine on which SIP listens."""
    udp_port: values.Port = 25060
    """SIP over UDP, and over TCP on the same port. 0 takes any free one."""
    tls_port: values.Port | None = None
    """SIP over TLS; needs `tls_cert_file` and `tls_key_file`."""
    ws_port: values.Port | None = None
    """SIP over WebSocket (RFC 7118)."""
    wss_port: values.Port | None = None
    """SIP over WebSocket and TLS, with the certificate of TLS."""
    tls_cert_file: str | None = None
    """Certificate chain in PEM, served to peers; read again when it changes."""
    tls_key_file: str | None = None
    """Its private key in PEM."""
    tls_ca_file: str | None = None
    """Authorities trusted for outbound TLS, in PEM; without it the system's."""
    tls_client_cert_file: str | None = None
    """Client certificate for servers that request one."""
    tls_client_key_file: str | None = None
    """Its private key; not needed if it is in the same file."""
    tls_verify: values.Flag = True
    """Whether outbound TLS checks the server's certificate and name."""
    external_ip: Annotated[str | None, BeforeValidator(_without_placeholder)] = None
    """Public address put into Contact, Via and SDP, or `auto`: learnt by STUN."""
    stun_servers: tuple[values.StunServer, ...] = values.STUN_SERVERS
    """STUN servers, used if `external_ip` is `auto`; `host` or `host:port`."""
    auto_learn_public_address: values.Flag = False
    """Learn the public address from `received` and `rport` in the Via of responses."""
    useragent: values.NonEmpty = f"active-call/{__version__}"
    """User-Agent and Server header."""
    enable_options_response: values.Flag = True
    """Answer OPTIONS with 200, with 503 while draining or full."""
    accept_timeout: values.Seconds = 60.0
    """Seconds a handler may take to accept or reject; then 408. A number, or a text such as `50s`."""
    sip_registrations: tuple[sections.SipRegistration, ...] = ()
    """Accounts to register, which also answer challenges to outbound calls."""
    register_users: tuple[sections.RegisterUser, ...] = ()
    """The older form of the same; see `registrations`."""
    sip_register_proxy: values.Flag = False
    """Kept for files of the Rust program."""
    auto_refer: values.Flag | None = None
    """Kept for files of the Rust program."""
    auto_refer_timeout: values.Seconds | None = None
    """Kept for files of the Rust program."""
    options_response: values.FreeTable | None = None
    """Kept for files of the Rust program."""
    sipflow: values.FreeTable | None = Field(default=None, repr=False)
    """Kept for files of the Rust program."""
    trunks: tuple[trunking.Trunk, ...] = ()
    """Carriers: who may call in, limits, credentials and settings of outbound calls."""
    admission: trunking.Admission = trunking.Admission()
    """How unknown sources are treated, and limits over all trunks."""
    outbound: trunking.Outbound = trunking.Outbound()
    """Whom this server may call, and how much."""
    trunk_rules: tuple[trunking.TrunkRule, ...] = ()
    """Rewrites of From, To and Contact of outbound calls; the first match is applied."""
    rewrites: tuple[trunking.Rewrite, ...] = ()
    """Rewrites of the callee before dialling."""

    # -- handlers
    handler: sections.Handler | None = None
    """Who takes inbound calls: a playbook, a web service or a Python function. None: a WebSocket client must accept them."""

    # -- media
    rtp_start_port: values.Port = 12000
    """First RTP port; even, RTCP is on the next."""
    rtp_end_port: values.Port = 42000
    """Last port of the range."""
    rtp_bind_ip: values.BindIp | None = None
    """Address of this machine for RTP; without it `addr`."""
    enable_rtp_latching: values.Flag = True
    """Send to the source address of received RTP, once it is authentic."""
    rtp_timeout: values.RtpTimeout = 20.0
    """Seconds without RTP and RTCP from the peer (not on hold), after which a call ends; 0: never."""
    enable_srtp: values.Flag = False
    """SDES-SRTP for outbound calls, unless the call sets `enableSrtp`."""
    srtp_suites: values.SrtpSuites = ()
    """SRTP suites for offers and answers, best first; by default two that every trunk accepts are offered, and all are answered."""
    codecs: values.CodecNames = values.CODECS
    """Codecs offered, in order."""
    enable_ice_lite: values.Flag = False
    """WebRTC: be an ICE-lite agent, for servers with a public address."""
    ice_servers: tuple[sections.IceServer, ...] = ()
    """STUN and TURN servers for WebRTC clients."""
    media_streams: sections.MediaStreams = sections.MediaStreams()
    """Calls that carriers stream over WebSockets."""
    media_workers: Annotated[values.Whole, Field(ge=1, le=256)] | Literal["auto"] = "auto"
    """Media processes; `auto`: one for each core but one."""
    media_cache_path: values.NonEmpty = "./config/mediacache"
    """Folder for synthesised and downloaded audio."""

    # -- defaults for calls; a playbook or the call itself overrides them
    ambiance: values.AmbianceDefaults | None = None
    """Background sound."""
    vad: values.VadDefaults | None = None
    """Voice activity detection."""
    agc: values.AgcDefaults | None = None
    """Gain control."""
    asr: values.AsrDefaults | None = Field(default=None, repr=False)
    """Speech recognition."""
    tts: values.TtsDefaults | None = Field(default=None, repr=False)
    """Speech synthesis."""
    llm: values.FreeTable | None = Field(default=None, repr=False)
    """Language model, as in a playbook's front matter."""
    mcp: dict[values.NonEmpty, sections.McpServer] = Field(default_factory=dict, repr=False)
    """MCP servers by name; a playbook may offer their tools to its model (`mcp: [name]`)."""
    eou: values.EouDefaults | None = Field(default=None, repr=False)
    """End of utterance."""
    realtime: values.RealtimeDefaults | None = Field(default=None, repr=False)
    """Speech-to-speech model."""
    keys: dict[values.NonEmpty, dict[values.NonEmpty, str]] = Field(default_factory=dict, repr=False)
    """Key sets: provider keys by set name. Trunks and playbooks select a set with `keys`."""
    budget: cost.Budget = cost.Budget()
    """Cost limits, for each call and for each day."""
    prices: cost.Prices = cost.Prices()
    """Prices of engines and trunks."""
    ringback_detection: values.RingbackDefaults | None = None
    """Detection of tones before the answer."""
    load_engines: Literal["start", "call", "use"] = "call"
    """When local engines load their models: before the server is ready, while the first call rings, or at first use."""
    denoise: values.Flag | None = None
    """Noise suppression."""

    # -- HTTP
    http_addr: str = "0.0.0.0:8080"
    """`host:port` of the HTTP API."""
    http_token: values.OptionalSecret = None
    """Bearer token of the HTTP API; without one only clients on this machine may control calls."""
    http_tokens: tuple[sections.HttpToken, ...] = ()
    """Further tokens, each with its own scope."""
    http_rate: Annotated[values.Number, Field(ge=1, le=100_000, allow_inf_nan=False)] = 200.0
    """Requests and sockets a second for each token, or for each address without one."""
    http_tls: values.Flag = False
    """HTTPS and WSS, with the certificate of `tls_cert_file` and `tls_key_file`."""
    http_hosts: tuple[values.HostName, ...] = ()
    """Further host names by which web browsers may reach the HTTP API without a token; `*.example.com` for all names below a domain.
    Their pages may also open SIP over WebSocket (`ws_port`, `wss_port`)."""
    http_max_connections: Annotated[values.Whole, Field(ge=8, le=10_000)] = 512
    """Concurrent HTTP connections, half as many from one address; fewer if the process may open few descriptors."""
    http_access_skip_paths: tuple[str, ...] = ()
    """Paths that are not written to the access log; a `*` at the end matches the rest."""
    http_gzip: values.Flag = False
    """Compress HTTP responses."""

    webhooks: tuple[sections.Webhook, ...] = ()
    """Web services that receive events of calls."""

    # -- storage
    recording: sections.Recording = sections.Recording()
    """Recordings of calls."""
    callrecord: sections.CallRecordSettings = sections.LocalCallRecord()
    """Where call records go."""
    files: sections.Files = sections.Files()
    """Which files may be played."""
    outgoing: sections.Outgoing = sections.Outgoing()
    """Which hosts this server may reach over HTTP on behalf of others."""
    log_level: Annotated[LogLevel, BeforeValidator(_lower)] = "info"
    """Log level."""
    log_file: str | None = None
    """File for the log; without it, standard error."""
    log_format: Literal["text", "json"] = "text"
    """`text`: lines for people. `json`: one object a line."""
    log_personal: values.Flag = True
    """False: numbers, names, digits and words of people are left out of the log."""

    # -- lifetime
    graceful_shutdown: values.Flag = True
    """On a stop signal: accept no new call, de-register, wait for live ones."""
    graceful_shutdown_timeout: values.Seconds = 30.0
    """Seconds to wait for them."""
    peers: tuple[str, ...] = ()
    """Other nodes."""
    cluster: values.FreeTable | None = Field(default=None, repr=False)
    """Registry of several nodes."""

    _warnings: tuple[str, ...] = PrivateAttr(default=())
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the operator: keys without effect, placeholders."""
        return self._warnings

    @property
    def origins(self) -> Mapping[str, str]:
        """The source of each value by dotted key: `FILE:LINE`, with its variables, or the command line. Absent: the default."""
        return self._origins

    @property
    def public_ip(self) -> str | None:
        """The advertised address; None: the local address towards each peer."""
        return None if self.external_ip == "auto" else self.external_ip

    @property
    def http_host(self) -> str:
        """Host of `http_addr`."""
        return parse_host_port(self.http_addr)[0]

    @property
    def http_port(self) -> int:
        """Port of `http_addr`."""
        return parse_host_port(self.http_addr)[1]

    @property
    def rtp_address(self) -> str:
        """Address of this machine on which RTP is received."""
        return self.rtp_bind_ip or self.addr

    @property
    def registrations(self) -> tuple[sections.SipRegistration, ...]:
        """Accounts of both forms that are not disabled."""
        accounts = (*self.sip_registrations, *(user.as_registration() for user in self.register_users))
        return tuple(account for account in accounts if not account.disabled)


def key_variables(config: Config) -> dict[str, dict[str, str]]:
    """The variables of each key set, by its name. Raises ConfigError."""
    return {name: variables_of_set(name, table, all_providers()) for name, table in config.keys.items()}


def default_option(config: Config) -> CallOption:
    """The options for calls without their own."""
    return CallOption(
        denoise=config.denoise,
        ambiance=config.ambiance,
        vad=config.vad,
        agc=config.agc,
        asr=config.asr,
        tts=config.tts,
        eou=config.eou,
        realtime=config.realtime,
        ringback_detection=config.ringback_detection,
        budget=config.budget.as_option(),
    )
