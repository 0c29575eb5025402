"""Calls on hold that change hands, on the wire: phones put the call on hold before they transfer it, whatever the agent does just then.

The trunk's leg is the phone that holds; baresip, or a second leg of the trunk, is the one that the agent is left with. What that one hears
is recognised.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.process import wait_until
from running_server import Server, running_server
from websockets.sync.client import connect

from active_call.testing.phone.sip import tag_of
from active_call.testing.sound import audio
from active_call.testing.sound.listening import Recogniser, recognise_wav, utterances
from active_call.testing.trunk import Trunk, generic_pbx
from active_call.testing.vendors.realtime.openai import OpenAiRealtimeServer

GREETING = "Welcome to the switchboard."
ASKING = "I will connect you to the sales department."
FOUND = "Good morning, this is the sales department speaking."
BACK = "You are back with me. Is there anything else I can do for you?"
EVERYTHING = [GREETING, ASKING, FOUND, BACK]
DECOYS = ["Your balance is forty two dollars.", "Please leave a message after the tone.", "We are open from nine until five."]
SLOW_S = 6.0
DOING = ["speaking", "silent", "tool running"]


def slow_but(kept: str) -> list[Any]:
    """One thing that the agent is doing when the phone holds; the others are slow: `tests/calls/test_held_calls` has each, in each hold."""
    return [doing if doing == kept else pytest.param(doing, marks=pytest.mark.slow) for doing in DOING]


PLAYBOOK = f"""---
llm: {{{{provider: script}}}}
greeting: {GREETING}
interruption: {{{{strategy: none}}}}
tts: {{{{provider: espeak}}}}
refer: {{{{onRequest: bridge, timeout: 8}}}}
---
## press 1
{ASKING} <http url="{{url}}"/> {FOUND}
## press 9
<hangup/>
"""


class Slow(BaseHTTPRequestHandler):
    """Answers after a while."""

    n_asked = 0

    def do_GET(self) -> None:
        Slow.n_asked += 1
        time.sleep(SLOW_S)
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    slow = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=slow.serve_forever, daemon=True).start()
    playbook = PLAYBOOK.format(url=f"http://127.0.0.1:{slow.server_port}/parcel")
    with running_server(tmp_path_factory.mktemp("held"), playbook, extra="media_workers = 1") as running:
        yield running
    slow.shutdown()
    slow.server_close()


@pytest.fixture
def server(one_server: Server) -> Iterator[Server]:
    """The server without a call, before and after."""
    one_server.begin_anew()
    yield one_server
    for call in one_server.get("/list")["active_calls"]:
        one_server.get(f"/kill/{call['id']}")
    one_server.wait(lambda: not one_server.get("/list")["active_calls"], 5, "the calls to end")


def uri(server: Server) -> str:
    return f"sip:+15550199@127.0.0.1:{server.udp_port};transport=udp"


def held_in_the_middle_of(doing: str, trunk: Trunk, server: Server, direction: str = "sendonly") -> Any:
    """A call that the trunk puts on hold while the agent greets, has greeted, or waits for an answer from the web."""
    leg = trunk.call(uri(server))
    assert leg.wait_answered()
    leg.wait(lambda: False, 0.8 if doing == "speaking" else 4.0)
    if doing == "tool running":
        leg.sound.sender.press("1")
        leg.wait(lambda: False, 3.0)
    assert leg.wait_final(leg.reinvite(direction=direction)) == 200
    return leg


def sentences_of(leg: Any, epoch: float) -> list[str]:
    """What was heard on a leg of the trunk since `epoch`."""
    timeline = leg.sound.receiver.timeline(epoch)
    recogniser = Recogniser(EVERYTHING, DECOYS)
    return [sentence for one in utterances(timeline) for sentence in recogniser.recognise(timeline[one.start : one.end]).sentences]


def transfer_states(record: dict[str, Any]) -> list[str]:
    return [event["state"] for event in record["events"] if event["event"] == "transfer"]


def has_heard_a_sentence(phone: Baresip) -> bool:
    """Whether half a second of speech and a second of silence stand in its recording, which it is still writing."""
    samples = np.frombuffer(phone.heard.read_bytes()[44:], np.uint8)
    levels = audio.frame_levels(samples[: len(samples) // 2 * 2].view("<i2"))
    voiced = np.flatnonzero(levels > audio.VOICED_LEVEL)
    return len(voiced) > 25 and len(levels) - voiced[-1] > 50


@pytest.mark.parametrize("doing", slow_but("speaking"))
def test_phone_that_holds_and_refers_us_leaves_us_with_one_who_hears_the_agent(tmp_path: Path, server: Server, doing: str) -> None:
    n_records = len(server.records())
    with (
        Baresip(tmp_path / "sales", speech=audio.silence(60_000), answers=True) as sales,
        Trunk(generic_pbx(supports_media=True)) as trunk,
    ):
        sales.start()
        phone = held_in_the_middle_of(doing, trunk, server)
        with trunk.lock:
            exchange = phone.request("REFER", headers=[("refer-to", f"<{sales.uri}>")])
        assert phone.wait_final(exchange) == 202
        assert sales.wait_established(10), server.log

        def notified() -> list[str]:
            return [one.get("subscription-state") for one in phone.requests if one.method == "NOTIFY"]

        assert phone.wait(lambda: any("terminated" in state for state in notified()), 5)
        phone.wait(lambda: False, 1.0)
        assert phone.hang_up() == 200
        assert wait_until(lambda: has_heard_a_sentence(sales), 20), server.log  # the agent greets
        sales.command("hangup")
        record = server.wait_records(n_records + 1, 10)[-1]
        sales.stop()
        trunk.check()
        heard = [one for group in recognise_wav(sales.heard, EVERYTHING, DECOYS) for one in group.sentences]
        assert heard == [GREETING]
        assert (transfer_states(record)[-1], record["hangupBy"], record["error"]) == ("completed", "callee", None)
        assert [event["onHold"] for event in record["events"] if event["event"] == "hold"] == [True, False]


@pytest.mark.parametrize("doing", slow_but("tool running"))
def test_caller_whose_invite_replaces_a_held_call_hears_the_agent(server: Server, doing: str) -> None:
    n_records = len(server.records())
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        phone = held_in_the_middle_of(doing, trunk, server, "inactive" if doing == "silent" else "sendonly")
        dialog = f"{phone.call_id};to-tag={tag_of(phone.remote)};from-tag={tag_of(phone.local)}"
        leg = trunk.call(uri(server), caller="+15550123", headers=[("replaces", dialog), ("require", "replaces")])
        assert leg.wait_answered()
        epoch = time.monotonic()
        assert phone.wait_ended(5) == "peer hung up"
        leg.wait(lambda: False, 5.0)
        leg.sound.sender.press("9")
        assert leg.wait_ended(8) == "peer hung up"
        trunk.check()
        assert sentences_of(leg, epoch) == [GREETING]
        record = server.wait_records(n_records + 1, 10)[-1]
        assert (transfer_states(record), record["hangupBy"], record["error"]) == (["progress", "completed"], "agent", None)


@pytest.mark.slow  # those of operators take each way at once
@pytest.mark.parametrize("doing", DOING)
def test_caller_who_is_bridged_while_on_hold_is_back_with_the_agent_afterwards(server: Server, doing: str) -> None:
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        other = trunk.call(uri(server), caller="+15550777")
        assert other.wait_answered()
        phone = held_in_the_middle_of(doing, trunk, server)
        calls = sorted(server.get("/list")["active_calls"], key=lambda entry: str(entry["startTime"]))
        theirs, ours = (entry["id"] for entry in calls)
        epoch = time.monotonic()
        server.post(f"/command/{ours}", {"command": "bridge", "targetSessionId": theirs})
        phone.wait(lambda: False, 1.0)
        assert phone.wait_final(phone.reinvite()) == 200
        phone.wait(lambda: False, 2.0)
        assert sentences_of(phone, epoch) == []  # the agent is silent while the two are joined
        server.post(f"/command/{ours}", {"command": "unbridge"})
        phone.wait(lambda: False, 5.0)
        phone.sound.sender.press("9")
        assert phone.wait_ended(8) == "peer hung up"
        assert sentences_of(phone, epoch) == [BACK]
        other.hang_up()
        trunk.check()


class Operator:
    """Somebody who takes calls over: a socket that places a call to a telephone of the trunk, without an agent, and bridges it."""

    def __init__(self, server: Server, trunk: Trunk, number: int) -> None:
        self._socket = connect(f"ws://127.0.0.1:{server.http_port}/call/sip", max_size=2**20, legacy=True)
        self.send("invite", option={"callee": f"sip:+1555018{number}@{trunk.edge}", "caller": "sip:console@127.0.0.1"})
        self.until("mediaReady")
        self.phone = next(leg for leg in trunk.called if f"+1555018{number}@" in leg.invite.uri)
        assert self.phone.wait_answered(10)

    def send(self, command: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"command": command, **fields}))

    def until(self, name: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The next event of that name."""
        deadline = time.monotonic() + timeout_s
        while True:
            event = json.loads(self._socket.recv(timeout=max(0.01, deadline - time.monotonic())))
            assert event["event"] != "error", event
            if event["event"] == name:
                return dict(event)

    def leave(self, how: str) -> None:
        """Give the caller back to the agent."""
        if how == "unbridge":
            self.send("unbridge")
            self.until("bridge")
        elif how == "the phone hangs up":
            assert self.phone.hang_up() == 200
        self._socket.close()  # its owner: the call ends with it


def sine(hz: int, ms: int = 600) -> audio.Pcm:
    return np.asarray(8000 * np.sin(2 * np.pi * hz * np.arange(ms * audio.RATE_HZ // 1000) / audio.RATE_HZ)).astype(np.int16)


def frequencies(leg: Any, epoch: float) -> set[int]:
    """What tones were heard on a leg since `epoch`, to 50 Hz; -1: something else that is loud."""
    timeline, window = leg.sound.receiver.timeline(epoch), audio.RATE_HZ // 20
    found = set()
    for start in range(0, len(timeline) - window, window):
        piece = timeline[start : start + window].astype(np.float64)
        if np.sqrt((piece**2).mean()) > audio.VOICED_LEVEL:
            power = np.abs(np.fft.rfft(piece * np.hanning(window))) ** 2
            peak = int(power.argmax())
            is_tone = power[max(0, peak - 2) : peak + 3].sum() > 0.8 * power.sum()
            found.add(round(peak * audio.RATE_HZ / window / 50) * 50 if is_tone else -1)
    return found


def has_said(leg: Any, epoch: float, n_utterances: int = 1) -> bool:
    """Whether so many utterances have been heard whole since `epoch`."""
    timeline = leg.sound.receiver.timeline(epoch)
    found = utterances(timeline)
    return len(found) >= n_utterances and len(timeline) - found[n_utterances - 1].end > audio.RATE_HZ


def test_operators_who_take_over_calls_on_hold_are_heard_and_give_them_back_to_the_agent(server: Server) -> None:
    """Three calls at once, held while the agent speaks, is silent, or waits for its tool; three ways in which an operator leaves."""
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        begun_at, n_asked = time.monotonic(), Slow.n_asked
        phones = [trunk.call(uri(server), caller=f"+1555070{number}") for number in range(3)]
        assert all(phone.wait_answered(20) for phone in phones)
        callers = {call["cs.option"]["caller"]: call["id"] for call in server.get("/list")["active_calls"]}
        ids = [next(call_id for caller, call_id in callers.items() if f"+1555070{number}" in caller) for number in range(3)]
        speaking, silent, waiting = phones
        assert speaking.wait(lambda: bool(speaking.sound.receiver.voiced_at), 20)
        assert speaking.wait_final(speaking.reinvite(direction="sendonly"), 20) == 200
        assert wait_until(lambda: has_said(waiting, begun_at) and has_said(silent, begun_at), 30)
        assert silent.wait_final(silent.reinvite(direction="inactive"), 20) == 200
        waiting.sound.sender.press("1")
        assert wait_until(lambda: Slow.n_asked > n_asked, 30)
        assert waiting.wait_final(waiting.reinvite(direction="sendonly"), 20) == 200

        operators = [Operator(server, trunk, number) for number in range(3)]
        for number, operator in enumerate(operators):
            operator.send("bridge", targetSessionId=ids[number])
            assert operator.until("bridge")["state"] == "joined"
        taken_at = time.monotonic()
        for phone in phones:
            assert phone.wait_final(phone.reinvite(), 20) == 200
        for number, (phone, operator) in enumerate(zip(phones, operators, strict=True)):
            phone.sound.sender.say(sine(500 + 100 * number))
            operator.phone.sound.sender.say(sine(900 + 100 * number))
        for number, (phone, operator) in enumerate(zip(phones, operators, strict=True)):
            assert wait_until(lambda phone=phone: has_said(phone, taken_at), 30)
            assert wait_until(lambda operator=operator: has_said(operator.phone, taken_at), 30)
            assert frequencies(phone, taken_at) - {-1} == {900 + 100 * number}
            assert frequencies(operator.phone, taken_at) - {-1} == {500 + 100 * number}
        assert [sentences_of(phone, taken_at) for phone in phones] == [[], [], []]  # no agent says anything meanwhile

        left_at = time.monotonic()
        for operator, how in zip(operators, ("unbridge", "the phone hangs up", "the socket closes"), strict=True):
            operator.leave(how)
        for phone in phones:
            assert wait_until(lambda phone=phone: has_said(phone, left_at), 30)
            phone.sound.sender.press("9")
            assert phone.wait_ended(20) == "peer hung up"
        assert [sentences_of(phone, left_at)[:1] for phone in phones] == [[BACK], [BACK], [BACK]]
        trunk.check()


REALTIME = """---
realtime: {{provider: openai, endpoint: {url}/v1, secretKey: {key}, model: gpt-realtime}}
greeting: Good day.
---
You sell flowers.
"""


@contextmanager
def a_realtime_model() -> Iterator[OpenAiRealtimeServer]:
    """A vendor's speech-to-speech model, simulated in a thread: it takes loud sound for speech."""
    loop, model = asyncio.new_event_loop(), OpenAiRealtimeServer()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(model.__aenter__(), loop).result(20)
    try:
        yield model
    finally:
        asyncio.run_coroutine_threadsafe(model.__aexit__(None, None, None), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def test_realtime_model_hears_the_caller_before_and_after_a_hold(server: Server) -> None:
    n_records = len(server.records())
    with a_realtime_model() as model, Trunk(generic_pbx(supports_media=True)) as trunk:
        replies = ["Good day, this is the flower shop.", "We have roses.", "And tulips."]
        model.script.extend(replies)
        playbook = REALTIME.format(url=model.http_url, key=model.key)
        (server.folder / "playbooks" / "realtime.md").write_text(playbook, encoding="utf-8")
        epoch = time.monotonic()
        server.post("/call", {"callee": f"sip:+15550190@{trunk.edge}", "playbook": "realtime.md"})
        phone = trunk.wait_call(20)
        assert phone.wait_answered(20)
        assert wait_until(lambda: has_said(phone, epoch, 1), 30), server.log
        phone.sound.sender.say(sine(700))
        assert wait_until(lambda: has_said(phone, epoch, 2), 30), server.log
        assert phone.wait_final(phone.reinvite(direction="sendonly"), 20) == 200
        assert phone.wait_final(phone.reinvite(), 20) == 200
        phone.sound.sender.say(sine(700))
        assert wait_until(lambda: has_said(phone, epoch, 3), 30), server.log
        assert phone.hang_up() == 200
        record = server.wait_records(n_records + 1, 20)[-1]
        trunk.check()
        said = [(turn["speaker"], turn["text"]) for turn in record["turns"]]
        assert said == [
            ("agent", replies[0]),
            ("caller", model.heard),
            ("agent", replies[1]),
            ("caller", model.heard),
            ("agent", replies[2]),
        ]
        assert (model.complaints, record["status"], record["error"]) == ([], "answered", None)


def test_call_that_begins_on_hold_is_greeted_when_the_hold_is_over(server: Server) -> None:
    n_records = len(server.records())
    with Trunk(generic_pbx(supports_media=True)) as trunk:
        leg = trunk.call(uri(server), direction="sendonly")
        assert leg.wait_answered()
        leg.wait(lambda: False, 3.0)
        epoch = time.monotonic()
        assert leg.wait_final(leg.reinvite()) == 200
        leg.wait(lambda: False, 5.0)
        assert leg.hang_up() == 200
        trunk.check()
        assert sentences_of(leg, epoch) == [GREETING]
        record = server.wait_records(n_records + 1, 10)[-1]
        assert [event["onHold"] for event in record["events"] if event["event"] == "hold"] == [True, False]
