"""The `<http>` requests of one call's agent: which hosts they may reach, and how much of an answer is read.

What a playbook's author has written down may be asked: hosts in `http.allow`, and hosts of URLs that stand in the playbook. A model may not
add to them, whatever a caller has talked it into. Of those, what the author of a *file* names by host and port may lie in a private
network; a playbook that came with a request names no such places. RFC 9110; a redirect is an answer, and not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from active_call.agent.playbook.scenes import Playbook
from active_call.base.trust import Place
from active_call.call.opening.playbook_trust import listed_places
from active_call.net.outgoing import place_of, places_of

MAX_ANSWER_BYTES: Final = 256 * 1024
DEADLINE_S: Final = 10.0
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})


@dataclass(frozen=True, slots=True)
class WebAccess:
    """`listed`: host and port of URLs in the playbook; `hosts`: names and `*.name` of `http.allow`, for any port."""

    listed: frozenset[Place]
    hosts: tuple[str, ...] = ()
    is_trusted_file: bool = False
    """The operator has written the list."""

    def lists(self, host: str, port: int) -> bool:
        """Whether the author has written down this place."""
        named = any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self.hosts)
        return named or (host, port) in self.listed

    def is_trusted(self, host: str, port: int) -> bool:
        """Whether it may lie in a private network."""
        return self.is_trusted_file and ((host, port) in self.listed or host in self.hosts)


def access_of(playbook: Playbook) -> WebAccess:
    """What `playbook` lists."""
    entries = [entry.strip().lower() for entry in playbook.http.allow]
    names = tuple(entry.strip("[]") for entry in entries if not listed_places([entry]))
    return WebAccess(places_of(playbook.urls) | listed_places(entries), names, playbook.trust is not None)


class WebRequests:
    """Makes the requests. `private`: a client that may ask any host; `guarded`: one that judges addresses."""

    def __init__(self, access: WebAccess, private: httpx.AsyncClient, guarded: httpx.AsyncClient) -> None:
        self._access = access
        self._private = private
        self._guarded = guarded

    async def request(
        self, method: str, url: str, *, content: str | None = None, headers: Mapping[str, str] | None = None, timeout: float = DEADLINE_S
    ) -> httpx.Response:
        """One request, its answer read up to `MAX_ANSWER_BYTES`. Raises httpx.HTTPError with the reason in words."""
        place = place_of(url)
        if place is None or not url.lower().startswith(("http://", "https://")):
            raise httpx.UnsupportedProtocol("expected an http(s) URL")
        if method.upper() not in METHODS:
            raise httpx.UnsupportedProtocol(f"the method {method[:20]!r} is not used here")
        if not self._access.lists(*place):
            raise httpx.ConnectError(f"{place[0]} is not a host that the playbook lists")
        client = self._private if self._access.is_trusted(*place) else self._guarded
        try:
            async with asyncio.timeout(timeout):
                return await _read(client, method.upper(), url, content, headers or {})
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no whole answer within {timeout:g} s") from error


async def read_bounded(response: httpx.Response, limit_bytes: int) -> bytes:
    """The body of a streamed response. Raises httpx.DecodingError where it is larger than `limit_bytes`, or compressed."""
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise httpx.DecodingError("the answer is compressed, which was not asked for")
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit_bytes:
            raise httpx.DecodingError(f"the answer has more than {limit_bytes} bytes")
    return bytes(body)


async def _read(client: httpx.AsyncClient, method: str, url: str, content: str | None, headers: Mapping[str, str]) -> httpx.Response:
    wanted = {**headers, "Accept-Encoding": "identity"}
    async with client.stream(method, url, content=content, headers=wanted, follow_redirects=False) as response:
        body = await read_bounded(response, MAX_ANSWER_BYTES)
        kept = {name: value for name, value in response.headers.items() if name == "content-type"}
        return httpx.Response(response.status_code, headers=kept, content=body, request=response.request)
