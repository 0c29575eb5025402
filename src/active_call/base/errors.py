"""The error families, one for each party that has to act. Every error has a stable `code` for logs and clients."""

from __future__ import annotations


class ActiveCallError(Exception):
    """The root of all errors that this program raises on purpose."""

    code = "error"


class LimitReached(ActiveCallError):
    """A configured limit forbids this now. `rule` is the stable name of the limit, `retry_after_s` says when a retry makes sense."""

    code = "limit_reached"

    def __init__(self, reason: str, *, rule: str, retry_after_s: int) -> None:
        self.rule = rule
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class QuotaReached(LimitReached):
    """The hourly quota is used up."""

    code = "quota_reached"

    def __init__(self, reason: str, *, rule: str) -> None:
        super().__init__(reason, rule=rule, retry_after_s=60)


class NotAllowed(ActiveCallError):
    """The configuration or the playbook forbids it to everyone. `rule` is the stable name of the rule."""

    code = "not_allowed"

    def __init__(self, reason: str, *, rule: str) -> None:
        self.rule = rule
        super().__init__(reason)


class ParseError(ActiveCallError):
    """The peer's bytes do not match the grammar. A parser raises this and nothing else.

    `what` names the element, `expected` what the grammar requires there, `found` an excerpt of the input.
    """

    code = "parse_error"

    def __init__(self, what: str, *, expected: str = "", found: str = "") -> None:
        self.what = what
        self.expected = expected
        self.found = found[:80]
        text = what
        if expected:
            text += f": expected {expected}"
        if found:
            text += f", found {self.found!r}"
        super().__init__(text)


class LocalProtocolError(ActiveCallError):
    """Our own code asked a protocol machine for something that its state forbids."""

    code = "local_protocol_error"


class RemoteProtocolError(ActiveCallError):
    """The peer did something that the protocol forbids, in a message that is itself well-formed."""

    code = "remote_protocol_error"


class TransportError(ActiveCallError):
    """A socket, a name look-up or a TLS handshake failed. `where` names the peer."""

    code = "transport_error"

    def __init__(self, reason: str, *, where: str = "") -> None:
        self.reason = reason
        self.where = where
        super().__init__(f"{where}: {reason}" if where else reason)


class MediaError(ActiveCallError):
    """The media plane cannot do what was requested: it is full, it is gone, or a file cannot be read."""

    code = "media_error"


class ProviderError(ActiveCallError):
    """A speech or language provider failed. `retryable` says whether the same request may succeed later."""

    code = "provider_error"

    def __init__(self, provider: str, reason: str, *, retryable: bool = False) -> None:
        self.provider = provider
        self.reason = reason
        self.retryable = retryable
        super().__init__(f"{provider}: {reason}")


class ProviderBusy(ProviderError):
    """A provider is overloaded and has dropped this request. The provider has not failed; a retry would add to the load."""

    code = "provider_busy"


class PlaybookError(ActiveCallError):
    """A playbook that cannot be used. `line` counts from 1; 0 means the whole file."""

    code = "playbook_error"

    def __init__(self, file: str, line: int, reason: str) -> None:
        self.file = file
        self.line = line
        self.reason = reason
        super().__init__(f"{file}:{line}: {reason}" if line else f"{file}: {reason}")


class ConfigError(ActiveCallError):
    """A configuration that cannot be used. `key` is the dotted path of the offending key."""

    code = "config_error"

    def __init__(self, key: str, reason: str, *, file: str = "", line: int = 0) -> None:
        self.key = key
        self.reason = reason
        self.file = file
        self.line = line
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{place}{key}: {reason}" if key else f"{place}{reason}")
