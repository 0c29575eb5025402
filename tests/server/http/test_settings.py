"""HTTPS: the certificate of SIP, renewed while the server runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from active_call.api.access import Scope
from active_call.api.connections import Connections, HttpLimits, Listener
from active_call.base.errors import ConfigError
from active_call.server.certificate import write_development_certificate
from active_call.server.config.config import Config
from active_call.server.config.loading import load_config
from active_call.server.http.settings import HttpSettings, tokens_of


def config(**values: Any) -> Config:
    return Config(**values)


def test_tokens_of_the_configuration_have_their_scopes() -> None:
    tokens = tokens_of(config(http_token="all-rights", http_tokens=[{"name": "board", "token": "read-only-1"}]))
    assert [(token.name, token.scope) for token in tokens] == [("http_token", Scope.ADMIN), ("board", Scope.READ)]
    assert "all-rights" not in repr(tokens)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("http_tls = true\n", "tls_cert_file is missing"),
        ('http_token = "same-one"\n[[http_tokens]]\nname = "x"\ntoken = "same-one"\n', "twice"),
        ('[[http_tokens]]\nname = "x"\ntoken = "same-one"\nscope = "write"\n', "scope"),
        ('[[http_tokens]]\nname = "x"\ntoken = "short"\n', "token"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "active-call.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=part):
        load_config(tmp_path / "active-call.toml", {}, {})


class Greeter(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        transport.write(b"hello")
        transport.close()


def test_https_has_the_certificate_that_the_files_hold_now(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def renew() -> bytes:
        for path in (certificate, key):
            path.unlink(missing_ok=True)
        write_development_certificate(certificate, key, ["localhost"])
        return ssl.PEM_cert_to_DER_cert(certificate.read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")

    async def shown(port: int) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert await reader.read() == b"hello"
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return der

    async def story() -> None:
        first = renew()
        chosen = config(http_tls=True, tls_cert_file=str(certificate), tls_key_file=str(key))
        http = HttpSettings(chosen, SimpleNamespace(now=lambda: 0.0))  # type: ignore[arg-type]
        listening = socket.create_server(("127.0.0.1", 0))
        refusals = SimpleNamespace(note=lambda *_: None, counts=Counter())
        connections = Connections(HttpLimits(connections=10, first_reserved=1000), refusals)  # type: ignore[arg-type]
        listener = Listener(listening, connections, Greeter, lambda: http.tls)
        listener.start()
        port = listening.getsockname()[1]
        try:
            assert await shown(port) == first
            second = renew()
            assert await shown(port) == first
            http.reconfigure(chosen)
            assert await shown(port) == second != first
            certificate.write_text("nonsense")
            http.reload_certificate()
            assert await shown(port) == second
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(5):
                assert b"hello" not in await reader.read()  # a client that speaks plain HTTP
            writer.close()
        finally:
            listener.close()

    asyncio.run(story())
