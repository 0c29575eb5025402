"""Who may stream calls to us, the documents that carriers ask for, and the socket without a network."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketState

from active_call.agent.playbook.parser import parse_playbook
from active_call.api.access import AccessControl, access_check
from active_call.api.carrier_streams.access import TICKET_S, StreamAccess, StreamSettings, signed
from active_call.api.carrier_streams.routes import carrier_stream_routes
from active_call.api.carrier_streams.socket import CarrierSocket
from active_call.api.sockets.connection import EXTENSION
from active_call.api.walls import Walls
from active_call.base.errors import PlaybookError
from active_call.base.world import World
from active_call.legs.websocket.carriers.leg import CarrierStreamLeg
from active_call.legs.websocket.carriers.profile import NAMES, StreamProfile, stream_profile

BOOK = parse_playbook("---\nllm: {provider: script, greeting: Hello.}\n---\n# Scene: main\n## bye\nBye.\n", file="b.md", environment={})
SECRET = StreamSettings(token="s3cret", signing_secrets={"twilio": "12345"}, public_url="https://voice.example.com")
NOW = [1_800_000_000.0]


def profile(name: str) -> StreamProfile:
    found = stream_profile(name)
    assert found is not None
    return found


class Calls:
    """Takes calls and does nothing with them."""

    def __init__(self) -> None:
        self.taken: list[tuple[CarrierStreamLeg, Any, dict[str, Any]]] = []

    def handle_incoming(self, leg: Any, *, router: Any = None, variables: Any = None) -> None:
        self.taken.append((leg, router, dict(variables or {})))


class Books:
    def load(self, name: str) -> Any:
        if name != "shop.md":
            raise PlaybookError(name, 0, f"there is no playbook {name!r}")
        return BOOK


def access(settings: StreamSettings = SECRET, token: str | None = None) -> StreamAccess:
    return StreamAccess(settings, access_check(token), lambda: NOW[0])


def asked(
    path: str = "/call/stream/twilio", query: str = "", *, client: str = "203.0.113.9", kind: str = "websocket", **headers: str
) -> HTTPConnection:
    named = {"host": "voice.example.com", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return HTTPConnection(
        {
            "type": kind,
            "scheme": "ws" if kind == "websocket" else "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": (client, 1),
            "server": ("10.0.0.1", 8080),
        }
    )


def status_of(rules: StreamAccess, name: str, request: HTTPConnection, token: str = "") -> int | bool:
    try:
        return rules.judge(profile(name), request, token)
    except Exception as error:
        return int(getattr(error, "status_code", 0))


def test_signature_is_that_of_the_documented_example() -> None:
    form = [
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", "+14158675309"),
        ("Digits", "1234"),
        ("From", "+14158675309"),
        ("To", "+18005551212"),
    ]
    assert signed("https://mycompany.com/myapp.php?foo=1&bar=2", form, "12345") == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_token_may_stand_where_a_carrier_has_room_for_it() -> None:
    rules = access()
    basic = base64.b64encode(b"KEY:s3cret").decode()
    assert status_of(rules, "plivo", asked(), "s3cret") is True
    assert status_of(rules, "plivo", asked(query="token=s3cret")) is True
    assert status_of(rules, "telnyx", asked(x_telnyx_streaming_auth_token="s3cret")) is True
    assert status_of(rules, "exotel", asked(authorization=f"Basic {basic}")) is True
    assert status_of(rules, "vonage", asked(authorization="Bearer s3cret")) is True
    assert status_of(rules, "plivo", asked()) is False  # the start has to bring it
    for wrong in (asked(query="token=x"), asked(authorization="Bearer x"), asked(query="token=s3cre"), asked(query="token=%ff")):
        assert status_of(rules, "plivo", wrong) == 401
    assert status_of(rules, "exotel", asked(authorization="Basic !!")) is False
    assert status_of(rules, "plivo", asked(), "s3cret2") == 401


def test_twilios_signature_opens_the_stream_and_a_wrong_one_does_not() -> None:
    rules = access()
    right = signed("wss://voice.example.com/call/stream/twilio", [], "12345")
    assert status_of(rules, "twilio", asked(x_twilio_signature=right)) is True
    assert status_of(rules, "twilio", asked("/call/stream/twilio/x", x_twilio_signature=right)) == 403
    assert status_of(rules, "twilio", asked(x_twilio_signature=signed("wss://voice.example.com/call/stream/twilio", [], "other"))) == 403
    assert status_of(rules, "plivo", asked(x_twilio_signature=right)) is False
    unnamed = access(StreamSettings(signing_secrets={"twilio": "12345"}))
    assert status_of(unnamed, "twilio", asked(x_twilio_signature=right)) is True  # by the name it has asked for


@pytest.mark.parametrize("signature", ["\xe9", "=\xff=", "\udcff", "a" * 20_000])
def test_signature_of_any_characters_is_a_wrong_one(signature: str) -> None:
    request = asked()
    request.scope["headers"].append((b"x-twilio-signature", signature.encode("utf-8", "surrogateescape")))
    assert status_of(access(), "twilio", request) == 403


def test_wrong_tokens_and_signatures_are_counted_like_all_others() -> None:
    control = AccessControl(World().clock)
    rules = StreamAccess(SECRET, control, lambda: NOW[0], control.count_wrong_token)
    wrong = [asked(query="token=x"), asked(authorization="Bearer x"), asked(x_twilio_signature="x")] * 3
    assert [status_of(rules, "twilio", one) for one in wrong] == [401, 401, 403, 401, 401, 429, 429, 429, 429]
    assert status_of(rules, "twilio", asked(query="token=s3cret")) is True  # others of that address are let in
    assert status_of(rules, "twilio", asked(query="token=x", client="203.0.113.10")) == 401


def test_form_of_too_many_fields_is_refused_with_the_reason() -> None:
    answer = answered("twilio", "", {f"k{n}": "v" for n in range(300)})
    assert answer.status_code == 400 and "more than 200 fields" in answer.text


def test_without_a_secret_the_rules_of_all_calls_hold() -> None:
    assert status_of(access(StreamSettings()), "twilio", asked(client="127.0.0.1")) is True
    assert status_of(access(StreamSettings()), "twilio", asked()) == 403
    assert status_of(access(StreamSettings()), "twilio", asked(client="127.0.0.1", x_forwarded_for="203.0.113.9")) == 403
    assert status_of(access(StreamSettings(), "http"), "twilio", asked(query="token=http")) is True
    assert status_of(access(StreamSettings(), "http"), "twilio", asked(query="token=s3cret")) == 401


def test_ticket_is_of_one_carrier_and_for_a_while() -> None:
    rules = access()
    ticket = rules.new_ticket(profile("twilio"))
    assert "s3cret" not in ticket
    assert rules.is_token(profile("twilio"), ticket)
    assert not rules.is_token(profile("plivo"), ticket)
    later = str(int(ticket.partition(".")[0]) + 1) + "." + ticket.partition(".")[2]
    assert not rules.is_token(profile("twilio"), later)
    NOW[0] += TICKET_S + 1
    assert not rules.is_token(profile("twilio"), ticket)
    for odd in ("", ".", "9" * 40 + ".x", "٣.x", "1"):
        assert not rules.is_token(profile("twilio"), odd)


def answered(name: str, query: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    app = FastAPI()
    app.include_router(carrier_stream_routes(Calls(), None, Books(), access()))  # type: ignore[arg-type]
    app.add_middleware(Walls)

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            path = f"/call/stream/{name}/answer?{query}"
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            return await (http.post(path, data=form, headers=named) if form is not None else http.get(path, headers=named))

    return asyncio.run(go())


def test_twiml_opens_a_stream_with_the_numbers_and_values_as_parameters() -> None:
    form = {"From": "+15550001", "To": "+15559999", "CallSid": "CA1"}
    query = "playbook=shop.md&greeting=%3Chi%3E+%22there%22"
    signature = signed(f"https://voice.example.com/call/stream/twilio/answer?{query}", list(form.items()), "12345")
    response = answered("twilio", query, form, x_twilio_signature=signature)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, "text/xml")
    stream = ElementTree.fromstring(response.text).find("Connect/Stream")
    assert stream is not None
    assert stream.get("url") == "wss://voice.example.com/call/stream/twilio"  # without a query: Twilio takes none
    values = {one.get("name"): one.get("value") for one in stream.findall("Parameter")}
    ticket = values.pop("token")
    assert values == {"playbook": "shop.md", "greeting": '<hi> "there"', "caller": "+15550001", "callee": "+15559999"}
    assert ticket is not None
    assert access().is_token(profile("twilio"), ticket)
    form["From"] = "+1666"
    assert answered("twilio", query, form, x_twilio_signature=signature).status_code == 403
    assert answered("twilio", query, form).status_code == 401


@pytest.mark.parametrize("name", NAMES)
def test_answer_document_of_every_carrier_is_whole(name: str) -> None:
    response = answered(name, "token=s3cret&playbook=shop.md&From=%2B1%26&from=%2B1%26&CallFrom=%2B1%26")
    assert response.status_code == 200
    text = response.text
    assert "s3cret" not in text
    assert "$" not in text
    if response.headers["content-type"].startswith("application/json"):
        body = json.loads(text)
        url = body["url"] if name == "exotel" else body[0]["endpoint"][0]["uri"]
    else:
        root = ElementTree.fromstring(text)
        stream = root.find(".//Stream")
        assert stream is not None
        url = stream.get("url") or stream.text
    given = httpx.URL(url)
    assert (given.scheme, given.host, given.path) == ("wss", "voice.example.com", f"/call/stream/{name}")
    if name in ("plivo", "telnyx", "exotel"):
        assert (given.params["playbook"], given.params["caller"]) == ("shop.md", "+1&")
        assert access().is_token(profile(name), given.params["token"])


def test_profile_that_nobody_knows_is_named() -> None:
    response = answered("acme", "token=s3cret")
    assert response.status_code == 404
    assert "twilio" in response.text


class Client:
    """An ASGI socket whose carrier sends `messages` and then waits, or leaves."""

    client = None
    scope: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, messages: list[str | bytes], *, leaves: bool = False, **query: str) -> None:
        self.application_state = WebSocketState.CONNECTED
        self.query_params = query
        self._messages = messages
        self._leaves = leaves
        self.sent: list[str | bytes] = []
        self.closed: list[tuple[int, str]] = []

    async def accept(self) -> None: ...

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            first = self._messages.pop(0)
            return {"type": "websocket.receive", "text" if isinstance(first, str) else "bytes": first}
        if self._leaves:
            return {"type": "websocket.disconnect", "code": 1006}
        await asyncio.Event().wait()
        raise AssertionError

    async def send_text(self, text: str) -> None:
        self.sent.append(text)

    async def close(self, code: int, reason: str = "") -> None:
        self.application_state = WebSocketState.DISCONNECTED
        self.closed.append((code, reason))


def start(**parameters: str) -> str:
    body = {"streamSid": "MZ1", "callSid": "CA1", "customParameters": parameters, "mediaFormat": {"encoding": "audio/x-mulaw"}}
    return json.dumps({"event": "start", "start": body})


def serve(client: Client, calls: Calls, *, is_proven: bool = True, ends: bool = False) -> None:
    async def story() -> None:
        socket = CarrierSocket(client, profile("twilio"), access(), calls, None, Books(), is_proven=is_proven)  # type: ignore[arg-type]
        running = asyncio.create_task(socket.run())
        async with asyncio.timeout(5):
            if ends:
                while not calls.taken:
                    await asyncio.sleep(0)
                calls.taken[0][0].hang_up(headers={}, by="agent", cause="hangup", reason="")
            await running

    asyncio.run(story())


def test_stream_becomes_an_inbound_call_with_its_playbook_and_variables() -> None:
    calls, client = (
        Calls(),
        Client(['{"event": "connected"}', '{"event": "media"}'.replace("media", "mark2"), start(playbook="shop.md", caller="+1", n="5")]),
    )
    serve(client, calls, ends=True)
    leg, router, variables = calls.taken[0]
    assert (leg.caller, leg.call_id, router.playbook, variables) == ("+1", "CA1", BOOK, {"n": "5"})
    assert client.closed == [(1000, "the call is over")]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([start(playbook="no.md")], "no.md"),
        (["nonsense"], "JSON"),
        (['{"event": "x"}'] * 60, "before the start"),
        ([start().replace("audio/x-mulaw", "audio/x-l16").replace('"encoding"', '"sampleRate": 11025, "encoding"')], "rate"),
    ],
)
def test_stream_that_cannot_become_a_call_is_closed_with_the_reason(messages: list[str | bytes], says: str) -> None:
    calls, client = Calls(), Client(messages)
    serve(client, calls)
    assert calls.taken == []
    assert client.closed[0][0] == 1008
    assert says in client.closed[0][1]


def test_stream_without_proof_needs_the_token_in_its_start() -> None:
    for parameters, n_calls in (({"token": "s3cret"}, 1), ({"token": "x"}, 0), ({}, 0)):
        calls, client = Calls(), Client([start(**parameters)], leaves=True)
        serve(client, calls, is_proven=False)
        assert len(calls.taken) == n_calls
        assert all("token" not in variables for _, _, variables in calls.taken)


def test_connection_that_is_gone_ends_the_call() -> None:
    calls = Calls()
    serve(Client([start()], leaves=True), calls)
    leg = calls.taken[0][0]
    assert leg._ended is not None
    assert (leg._ended.by, leg._ended.cause) == ("caller", "remote_bye")


def test_carrier_that_falls_silent_without_a_goodbye_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_call.api.carrier_streams.socket.SILENT_S", 0.02)
    calls, client = Calls(), Client([start()])
    serve(client, calls)
    ended = calls.taken[0][0]._ended
    assert (ended.by, ended.cause) == ("system", "no_media")


class Passing:
    """A connection past which messages go without the application."""

    take_bytes: Any = None
    take_text: Any = None

    def __init__(self) -> None:
        self.sent: list[str | bytes] = []
        self.n_looks = 0

    @property
    def heard_at(self) -> float:
        """Something has just come, the first few times that it is looked at."""
        self.n_looks += 1
        if self.n_looks == 3:
            assert self.take_text('{"event": "stop"}')
        return asyncio.get_running_loop().time()

    def send_now(self, message: str | bytes) -> bool:
        self.sent.append(message)
        return True


def test_messages_that_pass_by_the_application_keep_the_stream_alive_until_it_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_call.api.carrier_streams.socket.SILENT_S", 0.02)
    calls, client, connection = Calls(), Client([start()]), Passing()
    client.scope = {"extensions": {EXTENSION: connection}}
    serve(client, calls)
    ended = calls.taken[0][0]._ended
    assert connection.n_looks >= 3
    assert (ended.by, ended.cause, ended.reason) == ("caller", "remote_bye", "the stream has stopped")
