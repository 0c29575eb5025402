"""The HTTP settings that can change while serving: tokens, rates, and the certificate of HTTPS."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from active_call.api.access import AccessControl, Scope, Token
from active_call.base.errors import ConfigError
from active_call.base.world import Clock
from active_call.net.certificates import CertificateFiles, server_context
from active_call.server.config.config import Config

log = logging.getLogger("active_call.server")


class HttpSettings:
    """`access` checks requests; `tls` is the context of new connections, None for plain HTTP. Raises ConfigError."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.access = AccessControl(clock, tokens_of(config), config.http_rate)
        self._files = CertificateFiles(Path(config.tls_cert_file or ""), Path(config.tls_key_file or ""))
        self.tls: ssl.SSLContext | None = None
        self._failure = ""
        if config.http_tls:
            try:
                self.tls = server_context(self._files)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError("tls_cert_file", f"HTTPS cannot use this certificate: {error}") from error

    def reconfigure(self, config: Config) -> None:
        """Use the tokens and rates of `config`, and the current certificate."""
        self.access.go_by(tokens_of(config), config.http_rate)
        self.reload_certificate()

    def reload_certificate(self) -> None:
        """New connections get the certificate currently in the files. If it cannot be read, this is logged, and the old one stays."""
        if self.tls is None:
            return
        try:
            self.tls, self._failure = server_context(self._files), ""
        except (OSError, ssl.SSLError) as error:
            if self._failure != str(error):
                self._failure = str(error)
                log.error("the HTTPS certificate cannot be read; the previous one stays in use", extra={"error": self._failure})


def tokens_of(config: Config) -> tuple[Token, ...]:
    """The configured tokens: `http_token`, with all rights, and `[[http_tokens]]`."""
    all_rights = (Token("http_token", config.http_token),) if config.http_token is not None else ()
    return (*all_rights, *(Token(token.name, token.token, Scope[token.scope.upper()]) for token in config.http_tokens))
