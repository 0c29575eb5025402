"""A client for a running server: calls, records, playbooks, listening in.

async with Client("http://localhost:8080", token="…") as client:
    async with client.call("sip:bob@example.com", playbook="sales.md") as call:
        async for event in call.events():
            print(event)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Self
from uuid import uuid4

import httpx

from active_call.client.call import ClientCall, invitation
from active_call.client.connection import DEFAULT_URL, Connection, fetch, in_path, refusal, unreachable
from active_call.client.errors import CallOver, ClientError
from active_call.contract import commands, events, wire
from active_call.contract.options import AsrOption, CallOption

Rows = list[dict[str, Any]]


class Client:
    """One server. Use it in an `async with`. Methods raise ClientError with the server's message, its status and its code."""

    def __init__(self, url: str = DEFAULT_URL, *, token: str | None = None, tls: Any = None) -> None:
        self._connection = Connection(url, token, tls)
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._http = self._connection.http()
        return self

    async def __aexit__(self, *_: object) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _fetch(self, method: str, path: str, *, body: object = None, query: Mapping[str, object] | None = None) -> Any:
        if self._http is None:
            raise ClientError("expected `async with Client(…) as client`")
        return await fetch(self._http, method, path, body=body, query=query)

    # -- calls

    def call(
        self,
        target: str,
        *,
        playbook: str | None = None,
        content: str | None = None,
        option: CallOption | None = None,
        recognise: bool = True,
        session_id: str | None = None,
        detached: bool = False,
    ) -> ClientCall:
        """A call to `target`; `async with` places it and waits for the answer. With `playbook` (a file name) or `content`, an agent talks.

        `recognise`: recognise the callee with the server's own recogniser if `option.asr` is not set. `detached`: the call
        goes on after the block.
        """
        chosen = option or CallOption()
        if recognise and chosen.asr is None and not (playbook or content):
            chosen = wire.convert({**wire.to_builtins(chosen), "asr": {}}, CallOption).value
        session_id = session_id or f"c.{uuid4()}"
        begin = invitation(target, chosen)
        return _PlacedCall(self, self._connection, session_id, begin, detached, playbook, content)

    def join(self, session_id: str) -> ClientCall:
        """A live call that another client has started: follow it, and give it commands. It goes on after the block.

        `async with` raises CallOver if there is no call with that id.
        """
        return ClientCall(self._connection, session_id=session_id, begin=None, is_detached=True)

    def answer(self, session_id: str, *, option: CallOption | None = None, recognise: bool = True) -> ClientCall:
        """An inbound call that is ringing (the webhook's `dialogId`); `async with` answers it."""
        chosen = option or CallOption()
        if recognise and chosen.asr is None:
            chosen = wire.convert({**wire.to_builtins(chosen), "asr": wire.to_builtins(AsrOption())}, CallOption).value
        return ClientCall(self._connection, session_id=session_id, begin=commands.Accept(option=chosen))

    async def list(self) -> Rows:
        """The live calls."""
        return _rows((await self._fetch("GET", "/list"))["active_calls"])

    async def kill(self, session_id: str) -> None:
        """Hang up a call. Raises CallOver if there is none with that id."""
        await self._of_call("DELETE", f"/call/{in_path(session_id)}")

    async def send(self, session_id: str, command: commands.Command | Mapping[str, Any]) -> None:
        """Send one command to a call, without a socket. Raises CallOver if there is no call with that id."""
        body = dict(command) if isinstance(command, Mapping) else json.loads(wire.encode_command(command))
        await self._of_call("POST", f"/command/{in_path(session_id)}", body)

    async def _of_call(self, method: str, path: str, body: object = None) -> None:
        try:
            await self._fetch(method, path, body=body)
        except ClientError as error:
            if error.status == 404:
                raise CallOver("there is no such call", status=404, code="not_found") from error
            raise

    async def follow(self, session_id: str) -> AsyncIterator[events.Event | commands.Command]:
        """The events of a call, and the commands sent to it, until its end (server-sent events). Raises CallOver if there is none."""
        async for kind, data in self._stream(session_id):
            try:
                yield wire.decode_command(data).value if kind == "command" else wire.decode_event(data)
            except wire.ContractError:
                continue  # of a newer server

    async def _stream(self, session_id: str) -> AsyncIterator[tuple[str, str]]:
        if self._http is None:
            raise ClientError("expected `async with Client(…) as client`")
        try:
            async with self._http.stream("GET", f"/events/{in_path(session_id)}", timeout=httpx.Timeout(15.0, read=None)) as response:
                await _require_success(response)
                kind = "event"
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        yield kind, value
        except httpx.ConnectError as failure:
            raise unreachable(self._http, failure) from failure
        except httpx.HTTPError as failure:
            raise ClientError(f"the event stream broke: {str(failure) or type(failure).__name__}") from failure

    async def listen(self, session_id: str, *, format: Literal["wav", "pcm"] = "wav") -> AsyncIterator[bytes]:  # noqa: A002 (the query's)
        """The live sound of both sides: 16 kHz stereo, the caller left. Raises CallOver if there is no call with that id."""
        if self._http is None:
            raise ClientError("expected `async with Client(…) as client`")
        path = f"/listen/{in_path(session_id)}"
        try:
            async with self._http.stream("GET", path, params={"format": format}, timeout=httpx.Timeout(15.0, read=None)) as response:
                await _require_success(response)
                async for piece in response.aiter_bytes():
                    yield piece
        except httpx.ConnectError as failure:
            raise unreachable(self._http, failure) from failure
        except httpx.HTTPError as failure:
            raise ClientError(f"the sound broke off: {str(failure) or type(failure).__name__}") from failure

    # -- records and playbooks

    async def records(self, **filters: object) -> Rows:
        """Finished calls, newest first. The filters are those of `GET /api/records` (`from_` for `from`)."""
        return _rows(await self._fetch("GET", "/api/records", query={key.rstrip("_"): value for key, value in filters.items()}))

    async def record(self, record_id: str) -> dict[str, Any]:
        """The complete record of a call."""
        return dict(await self._fetch("GET", f"/api/records/{in_path(record_id)}"))

    async def playbooks(self) -> Rows:
        """The playbooks of the server: `name`, `updated`."""
        return _rows(await self._fetch("GET", "/api/playbooks"))

    async def health(self) -> dict[str, Any]:
        """The state of the server."""
        return dict(await self._fetch("GET", "/health"))

    async def keep_playbook(self, session_id: str, *, playbook: str | None = None, content: str | None = None) -> None:
        """Prepare a playbook for the call that a socket will start under this id."""
        body = {"playbook": playbook, "content": content, "session_id": session_id}
        await self._fetch("POST", "/api/playbook/run", body={key: value for key, value in body.items() if value is not None})


class _PlacedCall(ClientCall):
    """A call that gives its playbook to the server before it is placed."""

    def __init__(
        self,
        client: Client,
        connection: Connection,
        session_id: str,
        begin: commands.Command,
        detached: bool,
        playbook: str | None,
        content: str | None,
    ) -> None:
        super().__init__(connection, session_id=session_id, begin=begin, is_detached=detached)
        self._client, self._playbook, self._content = client, playbook, content

    async def __aenter__(self) -> Self:
        if self._playbook or self._content:
            await self._client.keep_playbook(self.id, playbook=self._playbook, content=self._content)
        return await super().__aenter__()


def _rows(found: Any) -> Rows:
    return [dict(row) for row in found]


async def _require_success(response: httpx.Response) -> None:
    if response.status_code == 404:
        raise CallOver("there is no such call", status=404, code="not_found")
    if response.status_code >= 400:
        raise refusal(response.status_code, await response.aread())
