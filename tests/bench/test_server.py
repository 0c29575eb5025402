"""The whole-server bench judges itself: its callers call, speak and count as they should, and what is not to be judged is not."""

from __future__ import annotations

import base64
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.bench.command_line import run_command
from active_call.bench.datagrams import Incoming, open_peer_socket
from active_call.bench.host import CoreTimes
from active_call.bench.server.__main__ import EXIT_CODES, main
from active_call.bench.server.caller import Caller
from active_call.bench.server.caller_calls import GIVE_UP_S, Calls, header, read_answer
from active_call.bench.server.caller_judge import listen
from active_call.bench.server.caller_sound import encode_ulaw, opened, prepare, session_for_receiving, session_for_sending
from active_call.bench.server.measurement import Reading, Workload, figures, judge
from active_call.bench.server.task import Seen, Task, Window, key_of
from active_call.bench.server.tested_server import Setting, bench_playbook, configuration
from active_call.codec import g711
from active_call.server.config.loading import load_config

TASK = Task("127.0.0.1", 5060, calls=3, n_lines=3, n_packets=40, rate=10.0)
ANSWER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=sendrecv\r\n"


def test_mu_law_of_the_callers_is_understood_by_the_server_for_every_sample() -> None:
    samples = np.arange(-32635, 32636, dtype=np.int32)
    decoded = g711.decode(encode_ulaw(samples.astype(np.int16)).reshape(1, -1), np.zeros(1, np.bool_))[0]
    assert np.all(np.abs(decoded - samples) <= np.abs(samples) / 32 + 5)  # half a step of its segment


def test_prepared_packets_are_authentic_and_each_line_has_a_key_of_its_own() -> None:
    task = replace(TASK, seed="keys")
    rows, size = prepare(task)
    assert size == 182
    assert len({key_of(task, line) for line in range(3)}) == 3
    for line in range(3):
        session = session_for_receiving(key_of(task, line))
        plain = [opened(rows[line * 40 + number, :size].tobytes(), session) for number in range(40)]
        assert [int.from_bytes(packet[2:4], "big") for packet in plain if packet] == list(range(40))
    assert opened(rows[0, :size].tobytes(), session_for_receiving(key_of(task, 1))) is None


class Far:
    """Stands in for the server: keeps what is sent, and answers what it is told to."""

    def __init__(self, task: Task = TASK) -> None:
        self.sent: list[str] = []
        self.begun: list[tuple[int, int]] = []
        self.ended: list[int] = []
        self.calls = Calls(
            task,
            "127.0.0.1:6000",
            lambda line: 7000 + line,
            lambda data: self.sent.append(data.decode()),
            lambda line, port, _now: self.begun.append((line, port)),
            self.ended.append,
        )
        self.calls.start(0.0)

    def invites(self) -> list[str]:
        return [text for text in self.sent if text.startswith("INVITE ")]

    def answer(self, request: str, status: str, *lines: str, at: float = 0.0, body: str = "") -> None:
        copied = "".join(f"{name}: {header(request, name)}\r\n" for name in ("Call-ID", "CSeq"))
        more = "".join(f"{line}\r\n" for line in lines)
        self.calls.receive(f"SIP/2.0 {status}\r\n{copied}To: <sip:bench@x>;tag=t\r\n{more}\r\n{body}".encode(), at, at)


def test_call_that_is_answered_is_acknowledged_and_begins_its_sound() -> None:
    far = Far()
    far.calls.place_due(0.0)
    (invite,) = far.invites()
    assert "m=audio 7000 RTP/AVP 0 101" in invite
    assert "a=crypto" not in invite
    far.answer(invite, "200 OK", "Contact: <sip:s@127.0.0.1:5060>", at=0.25, body=ANSWER.format(port=20_002))
    assert far.begun == [(0, 20_002)]
    assert far.sent[-1].startswith("ACK sip:s@127.0.0.1:5060 SIP/2.0")
    assert far.calls.counts.answer_ms == [250.0]
    far.calls.hang_up(5, 1.0)
    assert far.sent[-1].startswith("BYE sip:s@127.0.0.1:5060 SIP/2.0")
    far.answer(far.sent[-1], "200 OK", at=1.1)
    assert far.ended == [0]
    assert far.calls.n_open == 0


def test_refused_caller_is_acknowledged_and_calls_again_in_its_turn() -> None:
    far = Far(replace(TASK, calls=1))
    far.calls.place_due(0.0)
    far.answer(far.invites()[0], "503 Service Unavailable", "Retry-After: 5", at=0.01)
    assert far.sent[-1].startswith("ACK sip:bench@127.0.0.1:5060")
    assert "CSeq: 1 ACK" in far.sent[-1]
    assert far.calls.has_offered_all
    far.calls.place_due(0.02)
    assert len(far.invites()) == 1
    far.calls.place_due(0.1)
    assert len(far.invites()) == 2
    far.answer(far.invites()[1], "503 Service Unavailable", at=0.2)
    counts = far.calls.counts
    assert (counts.refused, counts.without_retry_after) == ({"503": 2}, 1)
    assert counts.refusal_ms == pytest.approx([10.0, 100.0])


def test_request_without_an_answer_is_repeated_and_given_up() -> None:
    far = Far(replace(TASK, calls=1))
    far.calls.place_due(0.0)
    for step in range(1, 2 * int(GIVE_UP_S) + 20):
        far.calls.run_timers(step * 0.5)
    assert len(far.invites()) == 5  # at 0, 0.5, 1.5, 3.5 and 7.5 s
    assert far.calls.counts.failed == {"no answer to INVITE": 1}
    assert far.calls.n_open == 0


def test_call_that_the_server_hangs_up_counts_as_failed() -> None:
    far = Far()
    far.calls.place_due(0.0)
    far.answer(far.invites()[0], "200 OK", "Contact: <sip:s@127.0.0.1:5060>", body=ANSWER.format(port=20_002))
    call_id = header(far.invites()[0], "Call-ID")
    far.calls.receive(f"BYE sip:caller SIP/2.0\r\nVia: v\r\nCall-ID: {call_id}\r\nCSeq: 1 BYE\r\n\r\n".encode(), 2.0, 2.0)
    assert far.sent[-1].startswith("SIP/2.0 200 OK\r\nVia: v\r\n")
    assert far.calls.counts.failed == {"hung up by the server": 1}
    assert far.calls.answered[0].over_at == 2.0


def test_answer_tells_port_and_key_and_one_without_sound_is_an_error() -> None:
    key = bytes(range(30))
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(key).decode()}|2^31\r\n"
    assert read_answer(ANSWER.format(port=4000) + crypto) == (4000, key)
    with pytest.raises(ValueError, match="no sound"):
        read_answer("v=0\r\n")


def received(packets: list[bytes], gap_s: float = 0.0) -> tuple[Incoming, int]:
    """The packets as the callers' log has them, and the port that they came from."""
    incoming = Incoming(len(packets), with_sources=True)
    with open_peer_socket("127.0.0.1") as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        for packet in packets:
            there.sendto(packet, here.getsockname())
            time.sleep(gap_s)
            incoming.take(here.fileno())
        return incoming, there.getsockname()[1]


def rtp(sequence: int, timestamp: int, payload: int = 0x30) -> bytes:
    return b"\x80\x00" + sequence.to_bytes(2, "big") + timestamp.to_bytes(4, "big") + b"SSRC" + bytes([payload]) * 160


def judged(packets: list[bytes], key: bytes = b"") -> Any:
    far = Far()
    far.calls.place_due(0.0)
    incoming, port = received(packets)
    far.answer(far.invites()[0], "200 OK", "Contact: <sip:s@h>", body=ANSWER.format(port=port))
    (call,) = far.calls.answered
    call.server_key = key
    return listen(incoming, [call], Window(1.5, time.monotonic() + 1), is_secured=bool(key))


def test_judge_counts_what_is_lost_skipped_and_repeated() -> None:
    numbers = [65534, 65535, 0, 2, 3, 3]
    packets = [rtp(number, (number + 2) % 65536 * 160 + (320 if number == 3 else 0)) for number in numbers]
    heard = judged([*packets, b"\x80\xc8" + bytes(26)])  # a sender report at the end
    assert (heard.lost, heard.wrong, heard.skipped, heard.received) == (1, 1, 2, 6)
    assert (heard.n_close, heard.n_audible, heard.n_up) == (6, 6, 1)


def test_judge_opens_packets_and_counts_those_that_are_not_authentic() -> None:
    key, other = bytes(30), bytes(range(30))
    good, bad = session_for_sending(key), session_for_sending(other)
    packets = [good.protect(rtp(number, number * 160, 0xFF)) for number in range(4)] + [bad.protect(rtp(4, 640))]
    heard = judged(packets, key)
    assert (heard.wrong, heard.n_close, heard.n_audible) == (1, 5, 0)


GOOD = Seen(
    n_up=10, answered=10, refused={}, failed={}, without_retry_after=0, retransmissions=0, answer_ms={}, refusal_ms={},
    packet_offset_ms={"p99": 1.0}, packet_offset_all_ms={"p99": 8.0}, worst_calls_ms=[], received=4995, expected=5000, skipped=0, lost=0,
    wrong=0, audible_percent=30.0, sent=5000, late_ms={"p99": 1.0}, late_all_ms={"p99": 1.0},
)  # fmt: skip
REFUSING = replace(GOOD, refused={"503": 4}, refusal_ms={"p99": 12.0})


@pytest.mark.parametrize(
    ("seen", "verdict", "because"),
    [
        (GOOD, "held", ""),
        (REFUSING, "overloaded", "4 attempts"),
        (replace(GOOD, late_ms={"p99": 6.0}, packet_offset_ms={"p99": 50.0}), "not judged", "6.0 ms late"),
        (replace(GOOD, is_log_full=True), "not judged", "room"),
        (replace(GOOD, ran_out=1), "not judged", "room"),
        (replace(GOOD, packet_offset_ms={"p99": 5.1}), "failed", "5.1 ms off"),
        (replace(GOOD, skipped=1), "failed", "1 packets skipped"),
        (replace(GOOD, received=4900), "failed", "4900 of 5000"),
        (replace(GOOD, failed={"hung up by the server": 1}), "failed", "hung up"),
        (replace(GOOD, wrong=1), "failed", "not authentic"),
        (replace(GOOD, n_up=0), "failed", "no call was up"),
        (replace(REFUSING, packet_offset_all_ms={"p99": 10.5}), "failed", "10.5 ms off"),
        (replace(REFUSING, refusal_ms={"p99": 51.0}), "failed", "51 ms"),
        (replace(REFUSING, without_retry_after=2), "failed", "2 responses 503 without"),
        (replace(REFUSING, refused={"503": 1, "500": 1}), "failed", "otherwise than by 503"),
    ],
)
def test_verdict_follows_from_what_the_callers_saw(seen: Seen, verdict: str, because: str) -> None:
    found, reasons = judge(Workload(10), seen)
    assert found == verdict
    assert because in " ".join(reasons)
    assert found in EXIT_CODES


def test_cost_of_a_call_second_is_split_by_process() -> None:
    before = Reading(10.0, {"control": 1.0, "media": 2.0}, CoreTimes(0.0, 0.0))
    after = Reading(20.0, {"control": 1.05, "media": 2.1, "recorder": 0.01}, CoreTimes(9.0, 0.5))
    made = figures(Workload(10), GOOD, before, after)
    assert made["cpu_ms_per_call_second"] == {"all": 1.6, "control": 0.5, "media": 1.0, "recorder": 0.1}
    assert made["core_percent"] == 1.6
    assert made["host"] == {"steal_percent": 5.0, "others_percent": 3.4}


@pytest.mark.parametrize("arguments", [["--calls", "0"], ["--seconds", "0"], ["--record", "-1"], ["--rate", "0"], ["--rate", "nan"]])
def test_numbers_that_cannot_be_are_refused_with_their_option(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, "active-call bench server", arguments) == 2
    assert arguments[0] in capsys.readouterr().err


def test_configuration_of_the_bench_loads(tmp_path: Path) -> None:
    (tmp_path / "bench.md").write_text(bench_playbook(tmp_path / "sound.wav", "none"))
    (tmp_path / "record.md").write_text(bench_playbook(tmp_path / "sound.wav", "none", recording="{id}.wav"))
    (tmp_path / "bench.toml").write_text(configuration(tmp_path, 5070, Setting()))
    config = load_config(tmp_path / "bench.toml", {}, {})
    assert (config.udp_port, config.media_workers, config.load_engines) == (5070, 1, "use")


class EchoServer(threading.Thread):
    """Refuses the first INVITE, answers all others on a port each, and sends every packet back."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sip.bind(("127.0.0.1", 0))
        self._sip.settimeout(0.002)
        self.port = self._sip.getsockname()[1]
        self._rtp: list[socket.socket] = []
        self._n_invites = 0
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            for sock in self._rtp:
                try:
                    while True:
                        data, address = sock.recvfrom(2000)
                        sock.sendto(data, address)
                except BlockingIOError:
                    pass
            try:
                data, address = self._sip.recvfrom(65_535)
            except TimeoutError:
                continue
            if (response := self._response(data.decode())) is not None:
                self._sip.sendto(response, address)
        for sock in (self._sip, *self._rtp):
            sock.close()

    def _response(self, request: str) -> bytes | None:
        method = request.partition(" ")[0]
        if method == "ACK":
            return None
        copied = "".join(f"{name}: {header(request, name)}\r\n" for name in ("Via", "From", "To", "Call-ID", "CSeq"))
        if method != "INVITE":
            return f"SIP/2.0 200 OK\r\n{copied}\r\n".encode()
        self._n_invites += 1
        if self._n_invites == 1:
            return f"SIP/2.0 503 Busy\r\n{copied}Retry-After: 1\r\n\r\n".encode()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        self._rtp.append(sock)
        contact = f"Contact: <sip:e@127.0.0.1:{self.port}>\r\n"
        return f"SIP/2.0 200 OK\r\n{copied}{contact}\r\n{ANSWER.format(port=sock.getsockname()[1])}".encode()


def test_callers_call_speak_hear_and_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    server = EchoServer()
    server.start()
    caller = Caller(Task("127.0.0.1", server.port, calls=3, n_lines=3, n_packets=3000, rate=50.0))
    begun_at = time.monotonic()
    window: list[Window] = []

    def told() -> Window | None:
        """The window opens once all three callers are up, and closes when each must have heard something."""
        if not window and len(caller.calls.answered) == 3:
            now = time.monotonic()
            window.append(Window(now + 1.1, now + 1.5))
        return window[0] if window else None

    monkeypatch.setattr(caller, "asked_for", told)
    try:
        seen_window = caller.run(begun_at)
        caller.end()
        seen = caller.seen(seen_window)
    finally:
        server.is_over.set()
        server.join()
        caller.close()
    assert (seen.n_up, seen.answered, seen.refused, seen.without_retry_after) == (3, 3, {"503": 1}, 0)
    assert seen.failed == {}
    assert seen.wrong == 0
    assert seen.sent >= 3
    assert seen.expected == 60
