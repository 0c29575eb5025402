"""The SIP bench judges itself: how the rate is searched for, what counts as kept up, how a stream is cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from active_call.bench.sip import CLOSE_ENOUGH, MAX_RATE, RateSearch, Run
from active_call.bench.sip_sender import Caller, Load, Task
from active_call.bench.sip_sockets import cut_messages


def run_of(**changes: object) -> Run:
    values = {
        "rate": 100.0, "calls": 100, "failed": 0, "failures": {}, "retransmissions": 0, "calls_per_s": 100.0,
        "sender_late_ms": 0.0, "trying_ms": [1.0] * 100, "answer_ms": [5.0] * 100,
    }  # fmt: skip
    return Run(**{**values, **changes})  # type: ignore[arg-type]


def searched(is_kept_up: Callable[[float, int], bool]) -> tuple[float, list[float]]:
    """The best rate and all that were tried; `is_kept_up` gets the rate and how many were tried before."""
    search, tried, best = RateSearch(), [], 0.0
    while (rate := search.next_rate()) is not None:
        ok = is_kept_up(rate, len(tried))
        search.note(rate, is_kept_up=ok)
        tried.append(rate)
        best = max(best, rate) if ok else best
        assert len(tried) < 40
    return best, tried


@pytest.mark.parametrize("limit", [3.0, 42.0, 220.0, 1111.0])
def test_rate_search_ends_close_below_what_the_server_can(limit: float) -> None:
    best, _ = searched(lambda rate, _: rate <= limit)
    assert best <= limit < best * CLOSE_ENOUGH


def test_rate_search_of_a_server_without_limit_ends() -> None:
    best, tried = searched(lambda _rate, _n: True)
    assert MAX_RATE / 2 < best == tried[-1] <= MAX_RATE


def test_rate_search_of_a_server_that_can_nothing_ends() -> None:
    best, tried = searched(lambda _rate, _n: False)
    assert best == 0.0
    assert len(tried) < 15


@pytest.mark.parametrize("disturbed", [range(2), range(3, 5), (0, 4)])
def test_rate_search_on_a_machine_that_was_busy_for_a_while_still_finds_the_limit(disturbed: Sequence[int]) -> None:
    best, _ = searched(lambda rate, n: rate <= 220.0 and n not in disturbed)
    assert best <= 220.0 < best * CLOSE_ENOUGH


@pytest.mark.parametrize(
    "changes",
    [{"failed": 1}, {"retransmissions": 1}, {"answer_ms": [5.0] * 90 + [101.0] * 10}],
    ids=["a call failed", "something was repeated", "answers come late"],
)
def test_load_with_a_fault_is_not_kept_up(changes: dict[str, object]) -> None:
    assert run_of().is_kept_up
    assert not run_of(**changes).is_kept_up


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_stream_of_messages_is_cut_by_content_length(size: int) -> None:
    first = b"SIP/2.0 200 OK\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nv=0\n"
    second = b"SIP/2.0 100 Trying\r\nCONTENT-LENGTH: 0\r\nCall-ID: 2\r\n\r\n"
    stream, unread, found = first + second + first, bytearray(), []
    for at in range(0, len(stream), size):
        unread += stream[at : at + size]
        found += list(cut_messages(unread))
    assert found == [first, second, first]
    assert not unread


class Answering:
    """Lines on which every request is answered at once, INVITE by `codes`."""

    local = "127.0.0.1:5070"

    def __init__(self, *codes: int) -> None:
        self._codes = codes
        self._waiting: list[bytes] = []
        self.sent: list[str] = []

    def send(self, data: bytes, call: int) -> None:
        text = data.decode()
        self.sent.append(text.partition(" ")[0])
        head = text.partition("\r\n\r\n")[0].split("\r\n")
        copied = [line for line in head if line.partition(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
        codes = {"INVITE": self._codes, "ACK": ()}.get(self.sent[-1], (200,))
        for code in codes:
            lines = [f"SIP/2.0 {code} Whatever", *copied, "Contact: <sip:server@127.0.0.1:5060>"]
            self._waiting.append(("\r\n".join(lines) + "\r\n\r\n").encode())

    def wait(self, timeout_s: float) -> Iterator[tuple[bytes, float]]:
        del timeout_s
        waiting, self._waiting = self._waiting, []
        return ((data, time.time()) for data in waiting)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("codes", "done", "failures", "repeated", "sent"),
    [
        ((100, 180, 200), 2, {}, 0, ["INVITE", "ACK", "BYE"] * 2),
        ((100, 503), 0, {"503 to INVITE": 2}, 0, ["INVITE", "ACK"] * 2),
        ((100, 200, 200), 2, {}, 2, ["INVITE", "ACK", "BYE", "ACK"] * 2),
    ],
    ids=["answered", "refused", "answered twice"],
)
def test_sender_counts_what_became_of_its_calls(
    codes: tuple[int, ...], done: int, failures: dict[str, int], repeated: int, sent: list[str]
) -> None:
    lines = Answering(*codes)
    caller = Caller(Task("127.0.0.1", 5060, "udp"), lines)
    seen = caller.run(Load(rate=1000.0, seconds=0.002))
    caller.close()
    assert (seen.n_done, seen.failures, seen.n_repeated) == (done, failures, repeated)
    assert sorted(lines.sent) == sorted(sent)
    assert len(seen.answer_ms) == done
