"""The programs of `examples/`, and a new project, over real SIP: each once, in a process of its own, judged by what was heard."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked_starts import forked_starts
from running_server import LIGHT_ENGINES, START_S, Server

from active_call.server.commands.init_project import init_project
from active_call.testing.phone.user_agent import Phone
from active_call.testing.sound import voice
from active_call.testing.sound.listening import Recogniser, utterances
from active_call.testing.trunk.switches import generic_pbx
from active_call.testing.trunk.trunk import Trunk
from ports import free_port, rtp_of_servers

EXAMPLES = Path(__file__).parents[2] / "examples"
RECORDS = """
[callrecord]
type = "local"
root = "cdr"
"""
HEARS_ANYTHING = """
[tts]
provider = "espeak"
"""
"""The recogniser that this machine chooses, which hears any words; a voice that loads in no time."""
MOST_PIECES = 3
"""Of a sentence that is heard with pauses."""
DECOYS = ["Your balance is forty two dollars.", "Please leave a message after the tone."]


@contextmanager
def running(folder: Path, program: str, *, engines: str = LIGHT_ENGINES, **environment: str) -> Iterator[Server]:
    """Start a program in `folder`, with ports of this test; empty: the server itself. `engines` empty: those that this machine has."""
    udp_port, http_port = free_port(), free_port()
    file = folder / "active-call.toml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    own = f"""addr = "127.0.0.1"
udp_port = {udp_port}
http_addr = "127.0.0.1:{http_port}"
rtp_start_port = {rtp_of_servers()[0]}
rtp_end_port = {rtp_of_servers()[1]}
media_workers = 1
graceful_shutdown_timeout = 1
"""
    keys = "|".join(line.split(" ")[0] for line in own.splitlines())
    file.write_text(own + re.sub(rf"(?m)^({keys}) =.*\n", "", text) + RECORDS + engines, encoding="utf-8")
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = forked_starts().start(folder, log.fileno(), {**os.environ, **environment}, program)
    server = Server(folder, udp_port, 0, http_port, process, log_file)
    try:
        server.wait(lambda: is_healthy(server), START_S, "the program to be ready")
        yield server
        assert "Traceback" not in server.log
        server.stop()
    finally:
        server.stop()


def is_healthy(server: Server) -> bool:
    try:
        return bool(server.health()["status"] == "ok")
    except OSError:
        return False


class Line:
    """One end of a call that the program is in: a phone that has called it, or a leg of a trunk that it has called."""

    def __init__(self, receiver: Any, sender: Any) -> None:
        self.receiver, self.sender = receiver, sender
        self._epoch = time.monotonic() - 3  # what has come before
        self._n_voiced = 0

    def listens(self, timeout_s: float = 25.0) -> None:
        """Wait until something was said, and a second of silence."""
        deadline = time.monotonic() + timeout_s
        while len(self.receiver.voiced_at) <= self._n_voiced or time.monotonic() - self.receiver.voiced_at[-1] < 1.0:
            assert time.monotonic() < deadline, "nothing was said, or it does not end"
            time.sleep(0.05)
        self._n_voiced = len(self.receiver.voiced_at)

    def presses(self, digits: str) -> None:
        for digit in digits:
            self.sender.press(digit)
        assert self.sender.wait_idle(10)

    def begins_anew(self) -> None:
        """Forget what was heard until now."""
        self._epoch = time.monotonic()
        self._n_voiced = len(self.receiver.voiced_at)

    def heard(self, *sentences: str) -> list[str]:
        """Which of these sentences were heard, in order."""
        timeline = self.receiver.timeline(self._epoch)
        recogniser = Recogniser(sentences, DECOYS)
        pieces = [timeline[span.start : span.end] for span in utterances(timeline)]
        found: list[str] = []
        while pieces:
            # On a busy machine a sentence may come in pieces, with pauses of a second.
            for n_taken in range(1, min(len(pieces), MOST_PIECES) + 1):
                heard = recogniser.recognise(np.concatenate(pieces[:n_taken])).sentences
                if heard:
                    break
            found += heard
            del pieces[: n_taken if heard else 1]
        return found

    def hears(self, *sentences: str, timeout_s: float = 25.0) -> list[str]:
        """The same, as soon as it is all of them: on a busy machine a sentence comes with pauses of a second."""
        deadline = time.monotonic() + timeout_s
        while (found := self.heard(*sentences)) != list(sentences) and time.monotonic() < deadline:
            time.sleep(0.5)
        return found


@contextmanager
def calling(server: Server) -> Iterator[tuple[Phone, Line]]:
    """A phone that has called the program and is answered."""
    with Phone(profile="plain") as phone:
        phone.dial(f"sip:+15550199@127.0.0.1:{server.udp_port}")
        assert phone.wait_answered(10), phone.responses
        yield phone, Line(phone.receiver, phone.sender)
        assert phone.violations == []


@contextmanager
def desk() -> Iterator[tuple[Trunk, str]]:
    """Somebody who can be called, and its address."""
    with Trunk(generic_pbx("udp", supports_media=True)) as trunk:
        yield trunk, f"sip:+15550100@127.0.0.1:{trunk.hub.port}"


def answered(trunk: Trunk, count: int = 1) -> tuple[Any, Line]:
    """The call that the program has placed, when it is answered."""
    leg = trunk.wait_call(30, count=count)
    assert leg.wait_answered()
    assert leg.sound is not None
    return leg, Line(leg.sound.receiver, leg.sound.sender)


def example(name: str) -> str:
    return str(EXAMPLES / f"{name}.py")


def test_ivr(tmp_path: Path) -> None:
    with running(tmp_path, example("ivr")) as server, calling(server) as (phone, line):
        line.listens()
        line.begins_anew()
        line.presses("2")
        line.listens()
        phone.hang_up()
        assert "go to take()" in server.log
        assert line.heard("Please say your order.") == ["Please say your order."]


def test_pin_database(tmp_path: Path) -> None:
    with running(tmp_path, example("pin_database")) as server, calling(server) as (phone, line):
        line.listens()
        line.presses("1001#")
        line.listens()
        line.begins_anew()
        line.presses("4711")
        assert phone.wait_ended(20) is not None
        (record,) = server.wait_records(1)
        assert '"1001"' in json.dumps(record)
        said = ["Hello Ada.", "Your balance is twelve point five zero euros.", "Goodbye."]
        assert line.heard(*said) == said


def test_warm_transfer(tmp_path: Path) -> None:
    with (
        desk() as (trunk, address),
        running(tmp_path, example("warm_transfer"), engines=HEARS_ANYTHING, DESK=address) as server,
        calling(server) as (phone, line),
    ):
        line.listens()
        phone.say("I have a question about my invoice.")
        leg, colleague = answered(trunk)
        colleague.listens()
        colleague.begins_anew()
        colleague.presses("1")
        line.listens()
        phone.say("Good morning to you.")
        colleague.listens()
        leg.hang_up()
        assert phone.wait_ended(10) is not None
        assert colleague.heard("Good morning to you.") == ["Good morning to you."]


def test_two_callers(tmp_path: Path) -> None:
    with running(tmp_path, example("two_callers")) as server, calling(server) as (first, first_line):
        time.sleep(6)  # until the music plays
        with calling(server) as (second, second_line):
            second_line.listens()
            second_line.begins_anew()
            first.say("Good morning to you.")
            second_line.listens()
            first_line.begins_anew()
            second.hang_up()
            assert second_line.heard("Good morning to you.") == ["Good morning to you."]
        assert first.wait_ended(10) is not None
        said = ["The other side has left.", "Goodbye."]
        assert first_line.heard(*said) == said


def test_reminder(tmp_path: Path) -> None:
    (tmp_path / "active-call.toml").write_text(LIGHT_ENGINES, encoding="utf-8")
    with desk() as (trunk, address):
        output = tmp_path / "output.txt"
        with output.open("wb") as file:
            process = forked_starts().start(tmp_path, file.fileno(), dict(os.environ), example("reminder"), [address])
        try:
            _, line = answered(trunk)
            line.listens()
            line.begins_anew()
            line.presses("1")
            process.wait(30)
            assert output.read_text(encoding="utf-8").endswith(f"{address} confirmed\n")
        finally:
            process.kill()
        said = ["Your appointment is confirmed.", "Thank you, goodbye."]
        assert line.heard(*said) == said


@pytest.mark.alone
def test_callback_queue(tmp_path: Path) -> None:
    """The customer has an address of its own with SIP's port: the number of a caller carries none."""
    elsewhere = Trunk(generic_pbx("udp", supports_media=True), local_ip="127.0.0.2", port=5060)
    with elsewhere, desk() as (trunk, address), running(tmp_path, example("callback_queue"), DESK=address) as server:
        call = elsewhere.call(f"sip:+15550199@127.0.0.1:{server.udp_port}", caller="+15550177")
        assert call.wait_answered()
        assert call.sound is not None
        line = Line(call.sound.receiver, call.sound.sender)
        assert call.wait(lambda: len(line.receiver.voiced_at) > 10, 20)
        line.presses("1")
        line.listens()
        call.wait_ended(10)
        _, colleague = answered(trunk)
        leg, customer = answered(elsewhere)
        assert "+15550177" in leg.invite.uri
        customer.listens()
        colleague.begins_anew()
        customer.sender.say(voice.speak("Good morning to you."))
        colleague.listens()
        leg.hang_up()
        assert customer.heard("This is your callback.") == ["This is your callback."]
        assert colleague.heard("Good morning to you.") == ["Good morning to you."]


def test_web_form(tmp_path: Path) -> None:
    with desk() as (trunk, address), running(tmp_path, example("web_form"), SHOP=address):
        form = urllib.parse.urlencode({"number": address}).encode()
        with urllib.request.urlopen("http://127.0.0.1:8088/", form, timeout=30) as page:
            assert "You are being connected" in page.read().decode()
        _, customer = answered(trunk)
        customer.listens()
        leg, shop = answered(trunk, 2)
        customer.sender.say(voice.speak("Good morning to you."))
        shop.listens()
        leg.hang_up()
        said = ["Thank you for your interest.", "I am connecting you with the shop."]
        assert customer.heard(*said)[:2] == said
        assert "Good morning to you." in shop.heard("Good morning to you.")


@pytest.mark.parametrize("is_python", [False, True])
def test_new_project(tmp_path: Path, is_python: bool) -> None:
    init_project(tmp_path, is_python=is_python)
    program = str(tmp_path / "bot.py") if is_python else ""
    with running(tmp_path, program) as server, calling(server) as (phone, line):
        line.listens()
        line.begins_anew()
        line.presses("1")
        line.listens()
        hours = "We are open from seven to six, Monday to Saturday."
        if not is_python:
            assert line.hears(hours) == [hours]
            phone.hang_up()
        assert phone.wait_ended(10) is not None
        assert line.heard(hours, "Goodbye.") == [hours, *(["Goodbye."] if is_python else [])]


class _Model(BaseHTTPRequestHandler):
    """A language model that speaks OpenAI's protocol: the hours at the first key, the end at the second."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        last = asked["messages"][-1]
        if last["role"] == "tool":
            text = "On Sunday we are open from nine to thirteen." if "9 to 13" in last["content"] else "Goodbye."
            self._stream([{"content": text}], "stop")
        elif not any(message["role"] == "tool" for message in asked["messages"]):
            self._stream([_call_of("opening_hours", '{"weekday":', "call_1"), _more_of(' "Sunday"}')], "tool_calls")
        else:
            self._stream([_call_of("end_call", "{}", "call_2")], "tool_calls")

    def _stream(self, deltas: list[dict[str, Any]], reason: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta, finish in [*((delta, None) for delta in deltas), ({}, reason)]:
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _call_of(name: str, arguments: str, call_id: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}]}


def _more_of(arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]}


@pytest.mark.alone
def test_agent_tools(tmp_path: Path) -> None:
    hours = "On Sunday we are open from nine to thirteen."
    greeting = "Harbour Street Bakery, good day. What can I do for you?"
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"http://127.0.0.1:{model.server_port}/v1"}
        with running(tmp_path, example("agent_tools"), **environment) as server, calling(server) as (phone, line):
            line.listens()
            line.presses("1")
            line.listens()
            line.presses("2")
            line.listens()
            assert phone.wait_ended(15)
            assert line.heard(greeting, hours, "Goodbye.") == [greeting, hours, "Goodbye."]
        model.shutdown()
