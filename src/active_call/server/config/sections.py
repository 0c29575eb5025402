"""The tables of the config file, one model a table, every key documented under its field.

In: plain values from TOML. Out: frozen models. A value that does not fit raises ValueError with plain words; `config_errors` turns it
into a ConfigError that names file, line and key. Knows nothing of files, lines or the environment.
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
    """Folders, with all below them; the folders of playbooks belong to them in any case. Recordings, records and the cache never do."""


class Outgoing(Section):
    """Requests to hosts that an API client, a model or a webhook has named."""

    allow_private: tuple[Place, ...] = ()
    """What they may reach beside the public internet: `127.0.0.1:11434`, `10.0.0.0/8`, `ollama:11434`, `*.corp.example`."""


class McpServer(Section):
    """One MCP server: a program of this machine (`command`), or a URL (`url`)."""

    command: str = ""
    """The program; it speaks MCP on its standard input and output, and runs as long as calls use it."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    """Its environment, beside `PATH`, `HOME` and the like."""
    cwd: str = ""
    """The folder that it runs in."""
    url: str = ""
    """The address of a server that speaks streamable HTTP."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Sent with every request, such as `Authorization`."""
    timeout: Annotated[Whole, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=1, le=600)] = 30
    """Seconds that one call of a tool may take."""
    tools: tuple[NonEmpty, ...] = ()
    """The tools that are offered; empty: all."""

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either `command` (a program) or `url`, not both")
        return self


# -- signalling --------------------------------------------------------------------------------------------------------------------------


class HttpToken(Section):
    """A token of the HTTP API with less than all rights."""

    name: NonEmpty
    """How refusals call it."""
    token: Annotated[Secret, Field(min_length=8)]
    """The bearer token."""
    scope: Literal["read", "control", "admin"] = "read"
    """`read`: follow calls and listen in; `control`: place and drive calls, too; `admin`: write playbooks, too."""


class Webhook(Section):
    """A web service that is told of calls."""

    name: NonEmpty
    """How logs and the API call it; what waits for it is kept under this name."""
    url: HttpUrl
    """Where each event is POSTed."""
    secret: Secret = ""
    """Signs the events (HMAC-SHA256); a secret that begins with `whsec_` is base64."""
    events: tuple[Literal["call.started", "call.answered", "call.ended", "call.transfer", "recording.ready", "turn"], ...] = ()
    """Which ones; empty: all but `turn`."""
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
        """As `RTCIceServer` of WebRTC; what is not set is left out."""
        server = {"urls": list(self.urls), "username": self.username, "credential": self.credential}
        return {key: value for key, value in server.items() if value is not None}


class MediaStreams(Section):
    """Calls that carriers stream to us over WebSockets, at `/call/stream/NAME`. Without a secret: as for all other calls over HTTP."""

    token: OptionalSecret = None
    """What a carrier has to bring: in the path, as the value `token` of the call flow, in a header, or as the password of the URL."""
    twilio_auth_token: OptionalSecret = None
    """The account's auth token; requests that it has signed (`X-Twilio-Signature`) need no token."""
    public_url: HttpUrl | None = None
    """`https://…` under which carriers reach this server; without it the name by which they ask."""


class SipRegistration(Section):
    """An account at a carrier or PBX: registered there, and used to answer its challenges to outbound calls."""

    name: str = ""
    """How logs and the API call it."""
    username: NonEmpty
    """Digest user name, and the user part of the address that is registered."""
    password: Secret = ""
    """Digest password."""
    server: NonEmpty
    """Host of the registrar and of outbound calls, with an optional port and `;transport=udp|tcp|tls`."""
    realm: str | None = None
    """Digest realm that the password belongs to; without it, any realm the server names."""
    register_: Flag | None = Field(default=None, alias="register")
    """False: no REGISTER is sent, the credentials serve outbound calls only (what Twilio trunks want). Left out: as the profile of the
    trunk that `server` belongs to has it, else true."""
    expires: Annotated[Whole, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=60, le=86400)] = 3600
    """Seconds a registration is asked for."""
    proxy: str | None = None
    """Outbound proxy, as a SIP URI or host, where it is not the server itself."""
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
    """User part of the address that is registered."""
    display_name: str | None = None
    """Display name in From."""
    disabled: Flag = False
    """True: kept in the file and not used."""
    auth_username: str | None = None
    """Digest user name, where `credential` gives none and it is not `username`."""
    credential: RegisterCredential | None = None
    """Digest user name and password, where the server asks for them."""

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
    """A playbook for some callers and callees. Both patterns must be found; an absent one matches everybody."""

    caller: Regex | None = None
    """Regular expression over the caller."""
    callee: Regex | None = None
    """Regular expression over the callee."""
    playbook: NonEmpty
    """File that takes the call."""


class PlaybookHandler(Section):
    """A playbook takes the call: the first rule that matches, else `default`, else 404."""

    type: Literal["playbook"]
    """`playbook`."""
    default: NonEmpty | None = None
    """File that takes the calls no rule matches."""
    rules: tuple[PlaybookRule, ...] = ()
    """Tried in order."""


class WebhookHandler(Section):
    """A web service decides."""

    type: Literal["webhook"]
    """`webhook`."""
    url: OneOrMore = ()
    """One URL, or several that are tried in turn."""
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
        """`url` and `urls`, in the order in which they are tried."""
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
    """File name without ending; `{id}`, `{date}`, `{time}`, `{caller}`, `{callee}` are filled in."""
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
    """One JSON file a call, beside the database."""

    type: Literal["local"] = "local"
    """`local`."""
    root: NonEmpty = "./config/cdr"
    """Folder; a sub-folder a day is made in it."""
    database: Secret = ""
    """URL of the database, as `url` of type `database`; without it the SQLite file `records.db` in `root`."""


class HttpCallRecord(Section):
    """Each record is POSTed as JSON, beside the database; what the service refuses for good is kept in `root` too."""

    type: Literal["http"]
    """`http`."""
    url: HttpUrl
    """Where to."""
    headers: Headers = Field(default={}, repr=False)
    """Sent with every request."""
    root: NonEmpty = "./config/cdr"
    """Folder for records that were refused, and for the database."""
    database: Secret = ""
    """URL of the database, as `url` of type `database`; without it the SQLite file `records.db` in `root`."""
    with_media: Flag = False
    """Send the recording too."""
    keep_media_copy: Flag = False
    """Keep the recording after it was sent."""


class S3CallRecord(Section):
    """Records in an object store."""

    type: Literal["s3"]
    """`s3`."""
    vendor: Literal["aliyun", "tencent", "minio", "aws", "gcp", "azure", "digitalocean", "digital_ocean"] = "aws"
    """Whose store it is."""
    bucket: NonEmpty
    """Bucket."""
    region: str = ""
    """Region."""
    access_key: Secret = ""
    """Access key."""
    secret_key: Secret = ""
    """Secret key."""
    endpoint: str = ""
    """URL of the store, where it is not the vendor's usual one."""
    root: str = ""
    """Prefix of the object names."""
    with_media: Flag = False
    """Store the recording too."""
    keep_media_copy: Flag = False
    """Keep the local recording after it was stored."""


class DatabaseCallRecord(Section):
    """Records in a database and nowhere else."""

    type: Literal["database"]
    """`database`."""
    url: Secret
    """`postgresql://user:password@host/database`, or `sqlite:///folder/records.db`."""
    root: NonEmpty = "./config/cdr"
    """Folder for what the database does not take while it is down."""


def _local_without_type(value: object) -> object:
    """A table without `type` is of type `local`, except where it holds a key that only other types know."""
    if not isinstance(value, dict) or "type" in value:
        return value
    others = {key for cls in (HttpCallRecord, S3CallRecord, DatabaseCallRecord) for key in cls.model_fields}
    return value if value.keys() & (others - LocalCallRecord.model_fields.keys()) else {"type": "local", **value}


CallRecordSettings = Annotated[
    LocalCallRecord | HttpCallRecord | S3CallRecord | DatabaseCallRecord,
    Field(discriminator="type"),
    BeforeValidator(_local_without_type),
]
