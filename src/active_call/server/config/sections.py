"""The tables of the config file, one model for each table, every key documented under its field.

Plain TOML values enter; frozen models leave. An invalid value raises ValueError in plain words; `config_errors` converts it to a
ConfigError that names file, line and key. Knows nothing of files, lines or the environment.
"""

from __future__ import annotations

import importlib.util
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from active_call.contract.durations import in_unit
from active_call.server.config.values import (
    Flag,
    Headers,
    HttpUrl,
    NonEmpty,
    OneOrMore,
    OptionalSecret,
    Place,
    PythonTarget,
    Regex,
    Secret,
    Section,
    Whole,
    as_list,
)

# -- files and the web -------------------------------------------------------------------------------------------------------------------


class Files(Section):
    """Which files calls may play (`play`, `moh`, `ringtone`, `ambiance`)."""

    roots: tuple[NonEmpty, ...] = ("config", "sounds", "playbooks")
    """Folders, including sub-folders; the playbook folders are always included. Recordings, records and the cache never are."""


class Outgoing(Section):
    """Requests to hosts named by an API client, a model or a webhook."""

    allow_private: tuple[Place, ...] = ()
    """Hosts that they may reach in addition to the public internet: `127.0.0.1:11434`, `10.0.0.0/8`, `ollama:11434`, `*.corp.example`."""


class McpServer(Section):
    """One MCP server: a local program (`command`), or a URL (`url`)."""

    command: str = ""
    """The program. It speaks MCP on its standard input and output, and runs as long as calls use it."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Its environment, in addition to `PATH`, `HOME` and similar variables."""
    cwd: str = ""
    """Its working folder."""
    url: str = ""
    """The address of a server with streamable HTTP."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Sent with every request, such as `Authorization`."""
    timeout: Annotated[Whole, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=1, le=600)] = 30
    """The time limit of one tool call, in seconds."""
    tools: tuple[NonEmpty, ...] = ()
    """The tools to offer; empty: all."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either `command` (a program) or `url`, not both")
        return self


# -- signalling --------------------------------------------------------------------------------------------------------------------------


class HttpToken(Section):
    """A token of the HTTP API with limited rights."""

    name: NonEmpty
    """Its name in refusals."""
    token: Annotated[Secret, Field(min_length=8)]
    """The bearer token."""
    scope: Literal["read", "control", "admin"] = "read"
    """`read`: follow calls and listen; `control`: also place and control calls; `admin`: also write playbooks."""


class Webhook(Section):
    """A web service that receives events of calls."""

    name: NonEmpty
    """Its name in logs and the API; waiting deliveries are stored under this name."""
    url: HttpUrl
    """Where each event is POSTed."""
    secret: Secret = ""
    """Signs the events (HMAC-SHA256); a secret beginning with `whsec_` is base64."""
    events: tuple[Literal["call.started", "call.answered", "call.ended", "call.transfer", "recording.ready", "turn"], ...] = ()
    """Which events; empty: all except `turn`."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Sent with every event."""


class IceServer(Section):
    """One STUN or TURN server for WebRTC clients."""

    urls: Annotated[tuple[NonEmpty, ...], BeforeValidator(as_list), Field(min_length=1)]
    """`stun:host:port`, `turn:host:port` or `turns:host:port`."""
    username: str | None = None
    """TURN user name."""
    credential: OptionalSecret = None
    """TURN password."""

    def as_rtc(self) -> dict[str, object]:
        """As WebRTC's `RTCIceServer`; unset fields are left out."""
        server = {"urls": list(self.urls), "username": self.username, "credential": self.credential}
        return {key: value for key, value in server.items() if value is not None}


class MediaStreams(Section):
    """Calls that carriers stream to us over WebSockets, at `/call/stream/NAME`. Without a secret the rules of all HTTP calls apply."""

    token: OptionalSecret = None
    """The carrier's secret: in the path, as the value `token` of the call flow, in a header, or as the password of the URL."""
    twilio_auth_token: OptionalSecret = None
    """The account's auth token; requests signed with it (`X-Twilio-Signature`) need no token."""
    public_url: HttpUrl | None = None
    """`https://…` under which carriers reach this server; by default the host name of their request."""


class SipRegistration(Section):
    """An account at a carrier or PBX: it is registered there, and answers challenges to outbound calls."""

    name: str = ""
    """Its name in logs and the API."""
    username: NonEmpty
    """Digest user name, and the user part of the registered address."""
    password: Secret = ""
    """Digest password."""
    server: NonEmpty
    """Host of the registrar and of outbound calls, with an optional port and `;transport=udp|tcp|tls`."""
    realm: str | None = None
    """The password's digest realm; without it, any realm that the server names."""
    register_: Flag | None = Field(default=None, alias="register")
    """False: no REGISTER is sent, and the credentials are used for outbound calls only (as Twilio trunks require). Default: from the
    profile of the trunk that `server` belongs to, else true.
    """
    expires: Annotated[Whole, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=60, le=86400)] = 3600
    """Requested duration of a registration in seconds."""
    proxy: str | None = None
    """Outbound proxy, as a SIP URI or host, if it is not the server itself."""
    display_name: str = ""
    """Display name in From."""
    disabled: Flag = False
    """True: kept in the file and not used."""


class RegisterCredential(Section):
    """Credentials in the older form."""

    username: NonEmpty
    """Digest user name."""
    password: Secret = ""
    """Digest password."""
    realm: str | None = None
    """Digest realm."""


class RegisterUser(Section):
    """The older form of `[[sip_registrations]]`."""

    server: NonEmpty
    """Registrar, with an optional port."""
    username: NonEmpty
    """User part of the registered address."""
    display_name: str | None = None
    """Display name in From."""
    disabled: Flag = False
    """True: kept in the file and not used."""
    auth_username: str | None = None
    """Digest user name, if `credential` has none and it is not `username`."""
    credential: RegisterCredential | None = None
    """Digest user name and password, if the server requires them."""

    def as_registration(self) -> SipRegistration:
        """The same account in the newer form."""
        login = self.credential or RegisterCredential(username=self.auth_username or self.username)
        return SipRegistration(
            name=self.username,
            username=login.username,
            password=login.password,
            server=self.server,
            realm=login.realm,
            display_name=self.display_name or "",
            disabled=self.disabled,
        )


# -- handlers ----------------------------------------------------------------------------------------------------------------------------


class PlaybookRule(Section):
    """A playbook for some callers and callees. Both patterns must match; a missing one matches all."""

    caller: Regex | None = None
    """Regular expression over the caller."""
    callee: Regex | None = None
    """Regular expression over the callee."""
    playbook: NonEmpty
    """File that takes the call."""


class PlaybookHandler(Section):
    """A playbook takes the call: that of the first matching rule, else `default`, else 404."""

    type: Literal["playbook"]
    """`playbook`."""
    default: NonEmpty | None = None
    """The file for calls without a matching rule."""
    rules: tuple[PlaybookRule, ...] = ()
    """Tried in order."""


class WebhookHandler(Section):
    """A web service decides."""

    type: Literal["webhook"]
    """`webhook`."""
    url: OneOrMore = ()
    """One URL, or several, tried in order."""
    urls: OneOrMore = ()
    """More URLs, tried after `url`."""
    method: Literal["POST", "PUT", "GET"] = "POST"
    """HTTP method."""
    headers: Headers = Field(default={}, repr=False)
    """Sent with every request."""

    @model_validator(mode="after")
    def _has_url(self) -> WebhookHandler:
        if not self.all_urls:
            raise ValueError("a webhook handler needs `url`, such as http://localhost:8090/incoming")
        return self

    @property
    def all_urls(self) -> tuple[str, ...]:
        """`url` and `urls`, in order."""
        return self.url + self.urls


class PythonHandler(Section):
    """An async Python function decides."""

    type: Literal["python"]
    """`python`."""
    target: PythonTarget
    """`module:function`."""

    @model_validator(mode="after")
    def _exists(self) -> PythonHandler:
        root = self.target.partition(":")[0].partition(".")[0]
        if importlib.util.find_spec(root) is None:
            raise ValueError(f"there is no Python module {root!r}; is its folder on PYTHONPATH?")
        return self


Handler = Annotated[PlaybookHandler | WebhookHandler | PythonHandler, Field(discriminator="type")]


# -- recordings and records --------------------------------------------------------------------------------------------------------------


class Recording(Section):
    """Recordings of calls."""

    enabled: Flag = False
    """Whether calls may be recorded."""
    auto_start: Flag = True
    """Recording starts when the call is answered; else a `record` command starts it."""
    filename_pattern: NonEmpty = "{id}"
    """File name without suffix; `{id}`, `{date}`, `{time}`, `{caller}`, `{callee}` are filled in."""
    path: NonEmpty = "./config/recorders"
    """Folder."""
    samplerate: Literal[8000, 16000, 24000, 48000] = 16000
    """Hz."""
    ptime: Annotated[Whole, BeforeValidator(lambda value: in_unit(value, "ms")), Field(ge=20, le=60000)] = 200
    """How often the file is written, in ms."""
    format: Literal["wav", "ogg", "mp3", "pcmu", "pcma", "pcm", "g722"] = "wav"
    """File format. `pcm` (stereo s16le) and `g722` (both voices mixed) are files without a header."""
    native_samplerate: Flag | None = None
    """Kept for files of the Rust program."""


class LocalCallRecord(Section):
    """One JSON file for each call, in addition to the database."""

    type: Literal["local"] = "local"
    """`local`."""
    root: NonEmpty = "./config/cdr"
    """Folder; it gets a sub-folder for each day."""
    database: Secret = ""
    """URL of the database, as `url` of type `database`; without it the SQLite file `records.db` in `root`."""


class HttpCallRecord(Section):
    """Each record is POSTed as JSON, in addition to the database; records that the service refuses permanently are kept in `root`."""

    type: Literal["http"]
    """`http`."""
    url: HttpUrl
    """The URL of the service."""
    headers: Headers = Field(default={}, repr=False)
    """Sent with every request."""
    root: NonEmpty = "./config/cdr"
    """Folder for refused records, and for the database."""
    database: Secret = ""
    """URL of the database, as `url` of type `database`; without it the SQLite file `records.db` in `root`."""
    with_media: Flag = False
    """Also send the recording."""
    keep_media_copy: Flag = False
    """Keep the recording after it was sent."""


class S3CallRecord(Section):
    """Records in an object store."""

    type: Literal["s3"]
    """`s3`."""
    vendor: Literal["aliyun", "tencent", "minio", "aws", "gcp", "azure", "digitalocean", "digital_ocean"] = "aws"
    """The vendor of the store."""
    bucket: NonEmpty
    """Bucket."""
    region: str = ""
    """Region."""
    access_key: Secret = ""
    """Access key."""
    secret_key: Secret = ""
    """Secret key."""
    endpoint: str = ""
    """URL of the store, if it is not the vendor's usual one."""
    root: str = ""
    """Prefix of the object names."""
    with_media: Flag = False
    """Also store the recording."""
    keep_media_copy: Flag = False
    """Keep the local recording after it was stored."""


class DatabaseCallRecord(Section):
    """Records in a database only."""

    type: Literal["database"]
    """`database`."""
    url: Secret
    """`postgresql://user:password@host/database`, or `sqlite:///folder/records.db`."""
    root: NonEmpty = "./config/cdr"
    """Folder for data that waits while the database is down."""


def _local_without_type(value: object) -> object:
    """A table without `type` is of type `local`, unless it has a key that only other types have."""
    if not isinstance(value, dict) or "type" in value:
        return value
    others = {key for cls in (HttpCallRecord, S3CallRecord, DatabaseCallRecord) for key in cls.model_fields}
    return value if value.keys() & (others - LocalCallRecord.model_fields.keys()) else {"type": "local", **value}


CallRecordSettings = Annotated[
    LocalCallRecord | HttpCallRecord | S3CallRecord | DatabaseCallRecord,
    Field(discriminator="type"),
    BeforeValidator(_local_without_type),
]
