"""Commands that a client sends on its socket, and what the other side of the call notices of them: what it hears, and what SIP says.

The other side is the trunk, which is written from the RFCs with nothing of the program. One server, one call; nothing is recognised and
nothing synthesised: what is heard are tones. Nothing is judged by the clock; each step waits until its effect is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from running_server import Server
from shared_servers import shared_server
from websockets.sync.client import ClientConnection, connect

from active_call.testing.trunk.called import CalledLeg
from active_call.testing.trunk.switches import generic_pbx
from active_call.testing.trunk.trunk import Trunk

PLAYBOOK = "---\nllm: {provider: script, greeting: Hello.}\n---\n# Scene: main\n## bye\nBye. <hangup/>\n"
PATIENCE_S = 40.0
LOUD = 500.0
"""Level of a packet with the tone in it; silence has less than a tenth."""
A_WHILE = 20
"""Packets: 0.4 s."""
TONE = "tone:440/600000"


class Driver:
    """A client, and the far end of its call."""

    def __init__(self, server: Server, trunk: Trunk) -> None:
        self.line: ClientConnection = connect(f"ws://127.0.0.1:{server.http_port}/call/sip?id=driven", max_size=2**20, legacy=True)
        self.events: list[dict[str, Any]] = []
        self.send("invite", option={"callee": f"sip:+15550100@127.0.0.1:{trunk.hub.port}", "asr": {"provider": "none"}})
        self.leg: CalledLeg = trunk.wait_call(PATIENCE_S)
        assert self.leg.wait_answered(PATIENCE_S)
        self.until("mediaReady")

    def send(self, command: str, **fields: Any) -> None:
        self.line.send(json.dumps({"command": command, **fields}))

    def until(self, name: str, **fields: Any) -> dict[str, Any]:
        """The next event of that name."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            event = json.loads(self.line.recv(timeout=max(0.01, deadline - time.monotonic())))
            self.events.append(event)
            if event["event"] == name and fields.items() <= event.items():
                return dict(event)

    def told_by_now(self) -> list[str]:
        """The names of all events that were told before a command that is answered at once."""
        marker = f"marker {len(self.events)}"
        self.send("custom", data={"at": marker})
        self.until("custom", data={"at": marker})
        return [event["event"] for event in self.events]

    # -- what the far end notices

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.events}"
            time.sleep(0.02)

    def next_levels(self, n_packets: int = A_WHILE) -> list[float]:
        """The levels of the packets that arrive from now on."""
        assert self.leg.sound is not None
        packets, begin = self.leg.sound.receiver.packets, len(self.leg.sound.receiver.packets)
        self.wait(lambda: len(packets) >= begin + n_packets, "packets")
        return [packet.level for packet in packets[begin : begin + n_packets]]

    def hears(self) -> None:
        self.wait(lambda: min(self.next_levels()) > LOUD, "the tone")

    def hears_nothing(self) -> None:
        self.wait(lambda: max(self.next_levels()) < LOUD / 10, "silence")

    def is_offered(self, number: int) -> str:
        """The direction in our `number`th re-INVITE."""
        request = self.leg.wait_request("INVITE", PATIENCE_S, count=number)
        assert request is not None
        directions = [line.removeprefix("a=") for line in request.body.decode().splitlines() if line in DIRECTIONS]
        return directions[0] if directions else "sendrecv"


DIRECTIONS = ("a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shared_server(PLAYBOOK, recording=True) as running:
        yield running


def test_each_command_has_its_effect_on_the_call(server: Server) -> None:
    with Trunk(generic_pbx("udp", supports_media=True)) as trunk:
        client = Driver(server, trunk)
        sound = client.leg.sound
        assert sound is not None

        client.send("play", url=TONE, playId="tone")
        client.hears()
        client.send("pause")
        client.hears_nothing()
        assert "trackEnd" not in client.told_by_now()
        client.send("resume")
        client.hears()

        client.send("mute", trackId="agent")
        client.hears_nothing()
        client.send("unmute")
        client.hears()

        client.send("dtmf", digits="19#", duration=100)
        client.wait(lambda: "".join(sound.receiver.digits) == "19#", "the digits")
        client.send("dtmf", digit="5", durationMs=80)
        client.wait(lambda: "".join(sound.receiver.digits) == "19#5", "the digit")
        client.hears()

        client.send("message", body="Your parcel is here.", headers={"X-Parcel": "17"})
        message = client.leg.wait_request("MESSAGE", PATIENCE_S)
        assert message is not None
        assert (message.body, message.get("x-parcel")) == (b"Your parcel is here.", "17")

        client.send("hold")
        assert client.is_offered(1) == "sendonly"
        client.until("hold", onHold=True)
        client.send("unhold")
        assert client.is_offered(2) == "sendrecv"
        client.until("hold", onHold=False)
        client.hears()

        client.send("record", action="start")
        client.hears()
        client.send("record", action="pause")
        client.next_levels(2 * A_WHILE)
        client.send("record", action="resume")
        client.hears()
        client.send("record", action="stop")

        client.send("setVar", key="X-Ticket", value=4711)
        client.send("hangup")
        client.until("hangup")
        assert client.leg.wait_ended(PATIENCE_S) == "peer hung up"
        bye = client.leg.wait_request("BYE", PATIENCE_S)
        assert bye is not None and bye.get("x-ticket") == "4711"
        assert "error" not in [event["event"] for event in client.events], client.events
        trunk.check()

    (record,) = server.wait_records(1)
    assert record["variables"]["X-Ticket"] == 4711
    assert_recorded_with_a_gap(server.folder / record["recording"])
    sent = [message["startLine"].split(" ")[0] for message in record["sipMessages"] if not message["received"]]
    assert [method for method in sent if method != "SIP/2.0"] == ["INVITE", "ACK", "MESSAGE", "INVITE", "ACK", "INVITE", "ACK", "BYE"]


def assert_recorded_with_a_gap(path: Path) -> None:
    """The tone is in the file, and a pause of silence of half a second or so in the middle of it."""
    with av.open(str(path)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        rate_hz = file.streams.audio[0].rate
    samples = np.concatenate([frame.reshape(-1) for frame in frames]).astype(np.float64)
    chunk = rate_hz // 10 * 2  # two sides, 0.1 s
    levels = np.sqrt((samples[: len(samples) // chunk * chunk].reshape(-1, chunk) ** 2).mean(axis=1))
    is_loud = levels > 0.3 * levels.max()
    loud = np.flatnonzero(is_loud)
    assert levels.max() > 300
    assert np.count_nonzero(~is_loud[loud[0] : loud[-1]]) >= 3, levels
