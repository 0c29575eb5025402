"""The parts of a socket without a network: its query, playbooks that wait, owners, and a client that does not read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocketState

from active_call.agent.playbook.parser import parse_playbook
from active_call.api.sockets.call_socket import Begun, CallSocket, EncodedOnce, Owners, SocketServices
from active_call.api.sockets.playbook_runs import MAX_WAITING, MAX_WAITING_CHARS, WAIT_S, PlaybookRuns, Run
from active_call.api.sockets.query import QueryError, SocketQuery, read_query
from active_call.base.world import World
from active_call.call.events.subscription import EventLog
from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption
from active_call.testing.virtual_time import CountingRandomness, run_virtually

BOOK = parse_playbook("---\nllm: {provider: script, greeting: Hello.}\n---\n# Scene: main\n## bye\nBye.\n", file="b.md", environment={})


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ({}, SocketQuery()),
        ({"linger": "20"}, SocketQuery(linger_s=20)),
        ({"id": "s.1", "dump": "true", "ping": "0"}, SocketQuery(id="s.1", ping_s=0.0, keeps_messages=True)),
        ({"dump_events": "false", "ping_interval": "2.5"}, SocketQuery(ping_s=2.5)),
        ({"id": "a", "forward": "true"}, SocketQuery(id="a", only_live=True)),
        ({"server_side_track": "bot", "detach": "", "since": "17"}, SocketQuery(is_detached=True, since=17, server_side_track="bot")),
        ({"serverSideTrack": "bot", "forward": "x", "id": ""}, SocketQuery(server_side_track="bot")),
    ],
)
def test_both_spellings_of_the_query_are_read(parameters: dict[str, str], query: SocketQuery) -> None:
    assert read_query(parameters) == query


@pytest.mark.parametrize("parameters", [{"ping": "x"}, {"ping": "-1"}, {"ping": "1e3"}, {"since": "1.5"}, {"id": "a b"}, {"dump": "maybe"}])
def test_query_with_a_mistake_names_the_parameter(parameters: dict[str, str]) -> None:
    with pytest.raises(QueryError, match=next(iter(parameters))):
        read_query(parameters)


def test_playbook_that_waits_is_taken_once_and_not_for_ever() -> None:
    now = [100.0]

    class Clock:
        def now(self) -> float:
            return now[0]

    runs = PlaybookRuns(World(clock=Clock(), randomness=CountingRandomness()))  # type: ignore[arg-type]
    first = runs.add(BOOK)
    assert runs.take(first) == Run(BOOK) and runs.take(first) is None
    assert runs.add(BOOK, "mine") == "mine"
    now[0] += WAIT_S
    assert runs.take("mine") is None
    ids = [runs.add(BOOK) for _ in range(MAX_WAITING + 5)]
    assert [runs.take(one) is not None for one in (ids[0], ids[4], ids[5], ids[-1])] == [False, False, True, True]


def test_playbooks_that_wait_fill_no_memory() -> None:
    runs = PlaybookRuns(World())
    long = replace(BOOK, source="x" * 1_000_000)
    ids = [runs.add(long) for _ in range(100)]
    n_waiting = sum(runs.take(one) is not None for one in ids)
    assert n_waiting == MAX_WAITING_CHARS // 1_000_000
    assert runs.take(runs.add(replace(BOOK, source="x" * (MAX_WAITING_CHARS + 1)))) is not None  # one always fits
    assert all(runs.add(long, "mine") == "mine" for _ in range(100))
    ids = [runs.add(long) for _ in range(MAX_WAITING_CHARS // 1_000_000 - 1)]
    assert runs.take("mine") == Run(long) and all(runs.take(one) is not None for one in ids)


def test_call_has_one_owner() -> None:
    owners = Owners()
    assert [owners.claim("a"), owners.claim("a"), owners.claim("b")] == [True, False, True]
    owners.release("a")
    assert owners.claim("a")


class Handle:
    """A call whose events the test makes."""

    id = "s.1"

    def __init__(self) -> None:
        self.log = EventLog()
        self.sent: list[Any] = []

    def subscribe(self, *, from_seq: int | None = None) -> Any:
        return self.log.subscribe(from_seq=from_seq, size=5)

    def describe(self) -> Any:
        class Now:
            direction, phase, is_over, answered_at = "outbound", 0, False, None

        return Now()

    def send(self, command: Any) -> None:
        self.sent.append(command)

    def find(self, _: str) -> Handle:
        return self


class SlowClient:
    """An ASGI socket whose client reads nothing after the first text."""

    def __init__(self) -> None:
        self.application_state = WebSocketState.CONNECTED
        self.texts: list[str] = []
        self.closed: list[tuple[int, str]] = []
        self.may_send = asyncio.Event()

    async def accept(self) -> None: ...

    async def receive(self) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send_text(self, text: str) -> None:
        self.texts.append(text)
        await self.may_send.wait()

    async def send_bytes(self, data: bytes) -> None:
        raise AssertionError(data)

    async def close(self, code: int, reason: str = "") -> None:
        self.closed.append((code, reason))


def test_client_that_does_not_read_loses_its_socket_and_the_call_waits_for_nobody() -> None:
    async def story() -> None:
        call, client = Handle(), SlowClient()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        socket = CallSocket(client, None, SocketQuery(id="s.1"), services, lambda *_: call)  # type: ignore[arg-type, return-value]
        running = asyncio.create_task(socket.run())
        await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        for digit in "1234567":
            call.log.append(events.Dtmf(digit=digit))
        client.may_send.set()
        async with asyncio.timeout(2):
            await running
        assert client.closed == [(1008, "too slow: the client does not read its events")]
        assert [json.loads(text)["digit"] for text in client.texts] in ([], ["1"])
        assert call.sent == []  # it was a listener: the call goes on

    asyncio.run(story())


def test_event_of_many_sockets_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, plain = EncodedOnce(), wire.encode_event
    seen: list[events.Event] = []
    monkeypatch.setattr("active_call.contract.wire.encode_event", lambda event: seen.append(event) or plain(event))
    one, other = events.Dtmf(digit="1", timestamp=1), events.Dtmf(digit="2", timestamp=1)
    assert [encoded(event) for event in (one, one, other, other)] == [plain(one)] * 2 + [plain(other)] * 2
    assert seen == [one, other]


def test_numbers_stand_in_events_where_a_client_may_come_again() -> None:
    async def story() -> None:
        call, client = Handle(), SlowClient()
        client.may_send.set()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        query = SocketQuery(id="s.1", since=1, server_side_track="bot")
        call.log.append(events.Dtmf(digit="1"))
        call.log.append(events.TrackStart(play_id="p", track_id="server-side-track"))
        call.log.append(events.Hangup(reason="done"))
        async with asyncio.timeout(2):
            await CallSocket(client, None, query, services, lambda *_: call).run()  # type: ignore[arg-type, return-value]
        first, second = (json.loads(text) for text in client.texts)  # there was no answer: no track of the other party
        assert (first["seq"], first["event"], first["trackId"]) == (2, "trackStart", "bot")
        assert (second["seq"], second["event"]) == (3, "hangup")
        assert client.closed == [(1000, "the call is over")]

    asyncio.run(story())


def test_sound_of_the_other_party_is_a_track_from_the_answer_to_the_hangup() -> None:
    async def story() -> None:
        call, client = Handle(), SlowClient()
        client.may_send.set()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        for event in (
            events.Ringing(timestamp=1000),
            events.Answer(timestamp=5000),
            events.TrackStart(timestamp=5100, play_id="p", track_id="server-side-track"),
            events.Answer(timestamp=7000),  # of a further offer
            events.Hangup(timestamp=9500),
        ):
            call.log.append(event)
        async with asyncio.timeout(2):
            await CallSocket(client, None, SocketQuery(id="s.1", since=0), services, lambda *_: call).run()  # type: ignore[arg-type, return-value]
        told = [json.loads(text) for text in client.texts]
        names = [(one["event"], one["trackId"]) for one in told]
        assert names == [
            ("ringing", "s.1"),
            ("trackStart", "s.1"),
            ("answer", "s.1"),
            ("trackStart", "server-side-track"),
            ("answer", "s.1"),
            ("trackEnd", "s.1"),
            ("hangup", "s.1"),
        ]
        assert (told[5]["duration"], told[5]["timestamp"], "seq" in told[5]) == (4500, 9500, False)

    asyncio.run(story())


def test_playback_that_was_cut_has_its_end_on_the_clients_track() -> None:
    async def story() -> None:
        call, client = Handle(), SlowClient()
        client.may_send.set()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        cut = events.Interruption(timestamp=700, track_id="server-side-track", play_id="p", total_duration=900, current=400)
        for event in (events.TrackStart(timestamp=300, play_id="p", track_id="server-side-track"), cut, events.Hangup(timestamp=800)):
            call.log.append(event)
        query = SocketQuery(id="s.1", since=0, server_side_track="bot")
        async with asyncio.timeout(2):
            await CallSocket(client, None, query, services, lambda *_: call).run()  # type: ignore[arg-type, return-value]
        told = [json.loads(text) for text in client.texts]
        assert [one["event"] for one in told] == ["trackStart", "interruption", "trackEnd", "hangup"]
        wanted = {"event": "trackEnd", "timestamp": 700, "trackId": "bot", "playId": "p", "duration": 400, "ssrc": 0}
        assert told[2] == wanted

    asyncio.run(story())


def test_answers_to_commands_name_the_call_and_tracks_may_be_muted_by_the_clients_own_names() -> None:
    texts = ['{"command": "mute", "trackId": "bot"}', '{"command": "unmute", "trackId": "agent"}', '{"command": "jump"}']

    class Talking(SlowClient):
        async def receive(self) -> dict[str, Any]:
            if texts:
                return {"type": "websocket.receive", "text": texts.pop(0)}
            return {"type": "websocket.disconnect"}

    async def story() -> None:
        call, client = Handle(), Talking()
        client.may_send.set()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        query = SocketQuery(id="s.1", server_side_track="bot")
        async with asyncio.timeout(5):
            await CallSocket(client, None, query, services, lambda *_: Begun(call)).run()  # type: ignore[arg-type]
        assert call.sent == [commands.Mute(track_id="server-side-track"), commands.Unmute(track_id="agent")]
        (error,) = map(json.loads, client.texts)
        assert (error["event"], error["sender"], error["trackId"]) == ("error", "command", "s.1")
        assert error["error"].startswith("command: unknown command 'jump'")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("option", "has_playbook", "provider"),
    [({}, False, "none"), ({"asr": {}}, False, None), ({"asr": {"provider": "openai"}}, False, "openai"), ({}, True, None)],
)
def test_client_that_names_no_recogniser_has_none(option: dict[str, Any], has_playbook: bool, provider: str | None) -> None:
    """Nothing is recognised for a client that drives the call by itself; an agent has what the server has."""

    async def story() -> None:
        asked: list[CallOption] = []
        call = Handle()

        def begin(option: CallOption, *_: Any) -> Begun:
            asked.append(option)
            return Begun(call)  # type: ignore[arg-type]

        runs = PlaybookRuns(World())
        if has_playbook:
            runs.add(BOOK, "s.1")
        services = SocketServices(SimpleNamespace(find=lambda _: None), runs)  # type: ignore[arg-type]
        client = SlowClient()
        client.may_send.set()
        socket = CallSocket(client, None, SocketQuery(id="s.1"), services, begin)  # type: ignore[arg-type]
        await socket._command(json.dumps({"command": "invite", "option": option}))
        assert (asked[0].asr.provider if asked[0].asr is not None else None) == provider

    asyncio.run(story())


@pytest.mark.parametrize(("invited", "callee"), [({}, "sip:b@x"), ({"callee": "sip:c@x"}, "sip:c@x")])
def test_address_of_a_run_is_called_when_its_socket_invites(invited: dict[str, str], callee: str) -> None:
    async def story() -> None:
        asked: list[CallOption] = []

        def begin(option: CallOption, *_: Any) -> Begun:
            asked.append(option)
            return Begun(Handle())  # type: ignore[arg-type]

        runs = PlaybookRuns(World())
        runs.add(BOOK, "s.1", "sip:b@x")
        services = SocketServices(SimpleNamespace(find=lambda _: None), runs)  # type: ignore[arg-type]
        client = SlowClient()
        client.may_send.set()
        socket = CallSocket(client, None, SocketQuery(id="s.1"), services, begin)  # type: ignore[arg-type]
        await socket._command(json.dumps({"command": "invite", "option": invited}))
        assert asked[0].callee == callee

    asyncio.run(story())


@pytest.mark.parametrize("comes_again", [True, False])
def test_call_of_a_broken_socket_waits_for_its_client_for_a_while(comes_again: bool) -> None:
    async def story() -> None:
        owners, ended = Owners(), []  # type: ignore[var-annotated]
        assert owners.claim("s.1")
        owners.release("s.1")
        owners.await_again("s.1", 20, lambda: ended.append(asyncio.get_running_loop().time()))
        await asyncio.sleep(15)
        assert owners.is_awaited("s.1") and not ended
        if comes_again:
            assert owners.claim("s.1") and not owners.is_awaited("s.1")
        await asyncio.sleep(30)
        assert ended == ([] if comes_again else [pytest.approx(20)])
        assert not owners.is_awaited("s.1")

    run_virtually(story())


def test_candidates_that_come_before_the_invitation_are_kept_for_the_call() -> None:
    class Talking(SlowClient):
        async def receive(self) -> dict[str, Any]:
            if texts:
                return {"type": "websocket.receive", "text": json.dumps(texts.pop(0))}
            return {"type": "websocket.disconnect"}

    texts: list[dict[str, Any]] = [{"command": "addIceCandidate", "candidate": f"candidate:{index}"} for index in range(100)]
    texts.append({"command": "invite", "option": {"offer": "v=0"}})

    async def story() -> None:
        call, client = Handle(), Talking()
        client.may_send.set()
        services = SocketServices(call, PlaybookRuns(World()))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            await CallSocket(client, None, SocketQuery(), services, lambda *_: Begun(call)).run()  # type: ignore[arg-type]
        candidates = [command for command in call.sent if isinstance(command, commands.AddIceCandidate)]
        assert [command.candidate for command in candidates] == [f"candidate:{index}" for index in range(64)]
        assert client.texts == []

    asyncio.run(story())
