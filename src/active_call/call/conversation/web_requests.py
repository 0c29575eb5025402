"""The `<http>` requests of one call's agent: which hosts they may reach, and how much of an answer is read.

Allowed are the hosts that the playbook's author wrote: hosts in `http.allow`, and hosts of URLs in the playbook. A model cannot add hosts,
whatever a caller makes it say. If the playbook is a *file*, hosts named with a port may be in a private network; a playbook that came with
a request cannot allow private hosts. RFC 9110; redirects are returned, not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

import httpx
from msgspec import Struct

from active_call.agent.playbook.scenes import Playbook
from active_call.agent.playbook.urls import urls_in
from active_call.agent.tools.http_tool import HttpTool
from active_call.net.outgoing import place_of

MAX_ANSWER_BYTES: Final = 256 * 1024
DEADLINE_S: Final = 10.0
METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})
INLINE: Final = "(inline)"
"""The name of a playbook that came with a request."""


class WebAccess(Struct, frozen=True):
    """`listed`: host and port of URLs in the playbook; `hosts`: names and `*.name` of `http.allow`, for any port."""

    listed: frozenset[tuple[str, int]]
    hosts: tuple[str, ...] = ()
    is_file: bool = False

    def lists(self, host: str, port: int) -> bool:
        """Whether the author listed this host and port."""
        named = any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self.hosts)
        return named or (host, port) in self.listed

    def is_trusted(self, host: str, port: int) -> bool:
        """Whether it may be in a private network."""
        return self.is_file and ((host, port) in self.listed or host in self.hosts)


def access_of_tool(tool: HttpTool, *, is_file: bool) -> WebAccess:
    """The hosts of one tool: that of its own URL, and its own list; nothing else of the playbook."""
    listed = {place for place in map(place_of, urls_in((tool.url,))) if place is not None}
    return _access(listed, tool.hosts, is_file=is_file)


def access_of(playbook: Playbook) -> WebAccess:
    """The hosts that `playbook` lists."""
    listed = {place for place in map(place_of, playbook.urls) if place is not None}
    return _access(listed, playbook.http.allow, is_file=playbook.file != INLINE)


def access_of_url(url: str, playbook: Playbook) -> WebAccess:
    """The host of a URL in the playbook's front matter."""
    place = place_of(url)
    return _access({place} if place is not None else set(), (), is_file=playbook.file != INLINE)


def _access(listed: set[tuple[str, int]], allow: Iterable[str], *, is_file: bool) -> WebAccess:
    hosts = []
    for name in (entry.strip().lower() for entry in allow):
        host, colon, port = name.rpartition(":")
        if colon and port.isdigit():
            listed.add((host.strip("[]"), int(port)))
        else:
            hosts.append(name.strip("[]"))
    return WebAccess(frozenset(listed), tuple(hosts), is_file=is_file)


class WebRequests:
    """Makes the requests. `private`: a client that may reach any host; `guarded`: one that checks addresses."""

    def __init__(self, access: WebAccess, private: httpx.AsyncClient, guarded: httpx.AsyncClient) -> None:
        self._access = access
        self._private = private
        self._guarded = guarded

    def for_tool(self, tool: HttpTool) -> WebRequests:
        """The same with the hosts of one tool."""
        return WebRequests(access_of_tool(tool, is_file=self._access.is_file), self._private, self._guarded)

    async def request(
        self, method: str, url: str, *, content: str | None = None, headers: Mapping[str, str] | None = None, timeout: float = DEADLINE_S
    ) -> httpx.Response:
        """One request; its answer is read up to `MAX_ANSWER_BYTES`. Raises httpx.HTTPError with the reason in words."""
        place = place_of(url)
        if place is None or not url.lower().startswith(("http://", "https://")):
            raise httpx.UnsupportedProtocol("expected an http(s) URL")
        if method.upper() not in METHODS:
            raise httpx.UnsupportedProtocol(f"the method {method[:20]!r} is not supported")
        if not self._access.lists(*place):
            raise httpx.ConnectError(f"{place[0]} is not a host that the playbook lists")
        client = self._private if self._access.is_trusted(*place) else self._guarded
        try:
            async with asyncio.timeout(timeout):
                return await _read(client, method.upper(), url, content, headers or {})
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no complete answer within {timeout:g} s") from error


async def read_bounded(response: httpx.Response, limit_bytes: int) -> bytes:
    """The body of a streamed response. Raises httpx.DecodingError if it is larger than `limit_bytes`, or compressed."""
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise httpx.DecodingError("the answer is compressed although the request did not allow it")
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
