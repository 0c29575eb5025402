"""The parts of a SIP leg by themselves, with a fake gateway and endpoint: transfers, requests, offers, placing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError, QuotaReached
from active_call.contract.options import CallOption
from active_call.legs.events import (
    LegDigit,
    LegEvent,
    LegHeld,
    LegHoldAnswered,
    LegMessage,
    LegRequestRefused,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.legs.sip.dialling import Invitation
from active_call.legs.sip.offers import DialogOffers
from active_call.legs.sip.placing import Placement
from active_call.legs.sip.ports import AddressedInvitation, LegPort
from active_call.legs.sip.requests import DialogRequests
from active_call.legs.sip.transfers import DialogTransfers
from active_call.legs.trunks.outbound_guard import Permit
from active_call.sdp.negotiation import NegotiationError, SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.dialog.info import DialogInfo
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request
from active_call.sip.syntax.uri import Uri
from active_call.testing.virtual_time import run_virtually

TOKEN, OTHER = cast("sip.TransactionToken", 7), cast("sip.TransactionToken", 8)
CALL = cast("sip.CallHandle", 3)


@dataclass
class Endpoint:
    """Writes down what is asked of it; `results` are given back in turn, True when none is left."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any, **_: Any) -> Any:
            self.asked.append((name, *arguments))
            result = self.results.pop(0) if self.results else True
            if isinstance(result, Exception):
                raise result
            return result

        return ask

    def peer_transport(self, _: object) -> str:
        return "udp"


@dataclass
class Gateway:
    endpoint: Endpoint = field(default_factory=Endpoint)
    counted: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    forgotten: list[Any] = field(default_factory=list)
    invited: AddressedInvitation | None = None
    is_used_up: bool = False

    def run(self, operation: Callable[[Any, float], Any]) -> Any:
        return operation(self.endpoint, 0.0)

    def count_transfer(self, trunk: str) -> str:
        if self.is_used_up:
            raise QuotaReached("used up", rule="outbound_calls")
        self.counted.append(trunk)
        return trunk

    def withdraw_transfer(self, counted: str) -> None:
        self.withdrawn.append(counted)

    def forget(self, handle: Any) -> None:
        self.forgotten.append(handle)

    async def invitation(self, *_: Any) -> AddressedInvitation:
        assert self.invited is not None
        return self.invited


@dataclass
class Media:
    """Answers and offers with texts; `refuses` is raised instead."""

    direction: str = "sendrecv"
    agreement: Any = None
    refuses: Exception | None = None
    n_proofs: int = 0
    started_over: list[Any] = field(default_factory=list)
    offered: list[Any] = field(default_factory=list)
    public_ip: str = ""
    peer: str = ""

    def answer(self, sdp: bytes, **_: Any) -> bytes:
        if self.refuses is not None:
            raise self.refuses
        return b"answer to " + sdp

    def offer(self, *, srtp: bool, direction: str | None = None) -> bytes:
        self.offered.append((srtp, direction))
        return b"offer"

    def prove(self) -> None:
        self.n_proofs += 1

    def take_back_offer(self) -> None: ...

    def limit_silence(self, _: object) -> None: ...

    def start_over(self, srtp: Any = None) -> None:
        self.started_over.append(srtp)


class Bench:
    """A port with everything fake behind it."""

    def __init__(self, handle: Any = CALL) -> None:
        self.gateway, self.media = Gateway(), Media()
        self.told: list[LegEvent] = []
        self.handle, self.is_over = handle, False
        self.port = LegPort(cast("Any", self.gateway), cast("Any", self.media), lambda: self.handle, self.told.append, lambda: self.is_over)

    @property
    def asked(self) -> list[tuple[Any, ...]]:
        return self.gateway.endpoint.asked


def completed(code: int, token: Any = TOKEN) -> sip.RequestCompleted:
    return sip.RequestCompleted(token, code, "Told", None, CALL)


def request(method: str, body: bytes = b"", content_type: str = "") -> Request:
    headers = Headers((("CSeq", f"5 {method}"), *((("Content-Type", content_type),) if content_type else ())))
    return Request(method, "sip:a@b", headers, body)


# -- transfers ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "uri"), [("+4930", "tel:+4930"), ("desk@example.com", "sip:desk@example.com"), ("sip:a@b", "sip:a@b")])
def test_refer_makes_a_uri_of_its_target(target: str, uri: str) -> None:
    bench = Bench()
    DialogTransfers(bench.port).refer(target, {}, counts_for=None)
    assert bench.asked == [("refer", CALL, uri, 0.0)]
    assert bench.gateway.counted == []


def test_refer_that_cannot_be_sent_or_is_refused_does_not_count() -> None:
    bench = Bench()
    bench.gateway.endpoint.results = [LocalProtocolError("no call"), TOKEN]
    transfers = DialogTransfers(bench.port)
    with pytest.raises(LocalProtocolError):
        transfers.refer("sip:a@b", {}, counts_for="carrier")
    assert (bench.gateway.counted, bench.gateway.withdrawn) == (["carrier"], ["carrier"])
    transfers.refer("sip:a@b", {}, counts_for="carrier")
    assert not transfers.is_refused_by(completed(603, OTHER))
    assert transfers.is_refused_by(completed(603))
    assert bench.gateway.withdrawn == ["carrier", "carrier"]
    assert bench.told == [LegTransferProgress(603, "Told", final=True, refused=True)]


def test_refer_beyond_the_hours_calls_is_not_sent() -> None:
    bench = Bench()
    bench.gateway.is_used_up = True
    with pytest.raises(QuotaReached):
        DialogTransfers(bench.port).refer("sip:a@b", {}, counts_for="carrier")
    assert bench.asked == []


def test_transfer_of_the_peer_waits_for_one_answer_and_a_second_request_gets_491() -> None:
    bench = Bench()
    transfers = DialogTransfers(bench.port)
    transfers.answer(True)  # nobody has asked
    transfers.requested(sip.TransferRequested(CALL, TOKEN, "sip:desk@b", None, None))
    transfers.requested(sip.TransferRequested(CALL, OTHER, "sip:other@b", None, None))
    transfers.answer(True)
    transfers.answer(False)
    assert bench.told == [LegTransferRequested("sip:desk@b", None)]
    assert bench.asked == [("respond", OTHER, 491, "Request Pending", 0.0), ("respond", TOKEN, 202, "Accepted", 0.0)]


@pytest.mark.parametrize(
    ("allowed", "carried"),
    [
        ((), (("Replaces", "id;to-tag=1;from-tag=2"), ("Require", "replaces"))),
        (("x-account",), (("Replaces", "id;to-tag=1;from-tag=2"), ("Require", "replaces"), ("X-Account", "12"))),
    ],
)
def test_of_the_headers_in_a_refer_to_those_are_carried_over_that_the_peer_may_set(
    allowed: tuple[str, ...], carried: tuple[tuple[str, str], ...]
) -> None:
    bench = Bench()
    replaces = ("Replaces", "id;to-tag=1;from-tag=2")
    given = (
        replaces,
        ("Require", "replaces"),
        ("X-Account", "12"),
        ("Require", "100rel"),
        ("Route", "<sip:thief@x>"),
        ("From", "<sip:a@b>"),
    )
    DialogTransfers(bench.port, allowed).requested(sip.TransferRequested(CALL, TOKEN, "sip:desk@b", None, replaces[1], given))
    assert bench.told == [LegTransferRequested("sip:desk@b", None, carried)]


def test_header_of_a_refer_to_that_would_break_the_invite_is_left_out() -> None:
    bench = Bench()
    given = (("Replaces", "id;to-tag=1\r\nX-Forged: 1"),)
    DialogTransfers(bench.port).requested(sip.TransferRequested(CALL, TOKEN, "sip:desk@b", None, given[0][1], given))
    (told,) = bench.told
    assert all("\r" not in value and "\n" not in value for _, value in told.headers)


def test_transfer_is_neither_answered_nor_told_of_after_the_end() -> None:
    bench = Bench()
    transfers = DialogTransfers(bench.port)
    transfers.requested(sip.TransferRequested(CALL, TOKEN, "sip:desk@b", None, None))
    bench.is_over = True
    transfers.answer(True)
    transfers.notify(200, "OK", final=True)
    assert bench.asked == []
    assert DialogTransfers(Bench(handle=None).port).attended_target() == ""
    assert DialogTransfers(Bench(handle=None).port).dialog_tags() == ("", "")


def test_tags_of_the_dialog_are_told_peer_first() -> None:
    bench = Bench()
    bench.gateway.endpoint.dialog_info = lambda _: DialogInfo("id", "ours", "theirs", "", "", "", established=False, user_agent="")  # type: ignore[attr-defined]
    assert DialogTransfers(bench.port).dialog_tags() == ("theirs", "ours")


# -- requests -----------------------------------------------------------------------------------------------------------------------------


def test_each_digit_is_one_info_and_its_refusal_is_told() -> None:
    bench = Bench()
    bench.gateway.endpoint.results = [TOKEN, OTHER]
    requests = DialogRequests(bench.port)
    requests.send_digits("1#", 100)
    assert [asked[:3] for asked in bench.asked] == [("request", CALL, "INFO")] * 2
    assert (requests.completed(completed(200)), requests.completed(completed(200))) == ("INFO", "")
    requests.refused(requests.completed(completed(415, OTHER)), completed(415, OTHER))
    assert bench.told == [LegRequestRefused("INFO", 415, "Told")]


def test_requests_of_the_peer_are_told_and_answered() -> None:
    bench = Bench()
    requests = DialogRequests(bench.port)
    requests.received(TOKEN, request("INFO", b"Signal=5\r\n", "application/dtmf-relay"))
    requests.received(TOKEN, request("INFO"))  # a sign of life
    requests.received(TOKEN, request("MESSAGE", b"hello"))
    assert bench.told == [LegDigit("5"), LegMessage("hello", "text/plain")]
    assert bench.asked == [("respond", TOKEN, 200, "OK", 0.0)] * 3


def test_info_that_nobody_reads_gets_415_unless_it_may_be_passed_over_3261_8_2_3() -> None:
    bench = Bench()
    requests = DialogRequests(bench.port)
    requests.received(TOKEN, request("INFO", b"<media_control/>", "application/media_control+xml"))
    optional = request("INFO", b"<isup>", "application/isup")
    optional.headers.add("Content-Disposition", "signal;handling=optional")
    requests.received(TOKEN, optional)
    assert bench.told == []
    assert bench.asked == [("respond", TOKEN, 415, "Unsupported Media Type", 0.0), ("respond", TOKEN, 200, "OK", 0.0)]


@pytest.mark.parametrize(("package", "code"), [("conference", 469), ("nil;x=1", 469), ("dtmf", 200), ("infoDtmf", 200)])
def test_info_of_an_unknown_package_gets_469_and_is_not_read_6086_4_2_2(package: str, code: int) -> None:
    bench = Bench()
    info = request("INFO", b"Signal=5\r\n", "application/dtmf-relay")
    info.headers.add("Info-Package", package)
    DialogRequests(bench.port).received(TOKEN, info)
    assert [asked[2] for asked in bench.asked] == [code]
    assert bench.told == ([LegDigit("5")] if code == 200 else [])


def test_request_before_the_call_is_placed_raises() -> None:
    with pytest.raises(LocalProtocolError, match="not been placed"):
        DialogRequests(Bench(handle=None).port).send_message("hello", "text/plain", {})


# -- offers -------------------------------------------------------------------------------------------------------------------------------


def test_media_waits_for_the_ack_of_a_reinvite_that_names_a_new_address() -> None:
    bench = Bench()
    offers = DialogOffers(bench.port, lambda _: False)
    offers.received(b"sdp", request("INVITE"))
    assert bench.asked == [("answer_offer", CALL, b"answer to sdp", 0.0)]
    offers.take_proof(sip.RequestReceived(CALL, TOKEN, request("MESSAGE")))  # was sent before our answer came, perhaps
    offers.take_proof(sip.OfferAcknowledged(CALL, 4))
    assert bench.media.n_proofs == 0
    offers.take_proof(sip.OfferAcknowledged(CALL, 5))
    assert bench.media.n_proofs == 1


@pytest.mark.parametrize("error", [NegotiationError("no codec"), ParseError("no line")])
def test_offer_that_cannot_be_answered_is_refused_and_nothing_waits(error: Exception) -> None:
    bench = Bench()
    bench.media.refuses = error
    offers = DialogOffers(bench.port, lambda _: False)
    offers.received(b"sdp", request("INVITE"))
    assert bench.asked == [("refuse_offer", CALL, 488, "Not Acceptable Here", 0.0)]
    offers.take_proof(sip.RequestReceived(CALL, TOKEN, request("MESSAGE")))
    assert bench.media.n_proofs == 1


def test_hold_of_the_peer_and_of_ours_are_told() -> None:
    bench = Bench()
    offers = DialogOffers(bench.port, lambda _: False)
    bench.media.agreement = SimpleNamespace(on_hold=True, receive=False, crypto=object())
    offers.received(b"sdp", request("UPDATE"))
    offers.hold("sendonly")
    assert (offers.is_secured, bench.media.offered) == (True, [(True, "sendonly")])
    offers.answered(200)
    assert bench.told == [LegHeld(True, is_silent=True), LegHoldAnswered(True, 200)]


# -- placing ------------------------------------------------------------------------------------------------------------------------------


class Turn:
    def __init__(self) -> None:
        self.n_settled = 0

    def wait_s(self) -> float:
        return 2.0

    def settle(self) -> None:
        self.n_settled += 1


class PlacementBench(Bench):
    def __init__(self, *, may_fall_back: bool = False) -> None:
        super().__init__(handle=None)
        invite = sip.OutboundInvite("sip:desk@b", "sip:us@a", None)
        self.gateway.invited = AddressedInvitation(
            Invitation(invite, True, may_fall_back, SrtpPolicy.PREFERRED), "198.51.100.1", "192.0.2.9"
        )
        self.gateway.endpoint.results = [CALL, OTHER]
        self.turn = Turn()
        self.placed: list[Any] = []
        self.placement = Placement(self.port, self._placed, permit=Permit(Uri("sip")), turn=cast("Any", self.turn), placed=None)

    def _placed(self, handle: Any) -> None:
        self.handle = handle
        self.placed.append(handle)

    async def invite(self) -> None:
        await self.placement.invite("sip:desk@b", CallOption(), "chosen-id")


def test_invite_waits_for_its_turn_and_describes_the_media_at_the_address_that_the_callee_sees() -> None:
    async def story() -> None:
        bench = PlacementBench()
        placing = asyncio.create_task(bench.invite())
        await asyncio.sleep(1.9)
        assert (bench.placed, bench.turn.n_settled) == ([], 0)
        await placing
        assert (bench.placed, bench.turn.n_settled) == ([CALL], 1)
        assert (bench.media.public_ip, bench.media.peer, bench.media.offered) == ("198.51.100.1", "192.0.2.9", [(True, None)])
        ((_, invite, _),) = bench.asked
        assert (invite.call_id, invite.sdp) == ("chosen-id", b"offer")
        with pytest.raises(LocalProtocolError, match="already placed"):
            await bench.invite()

    run_virtually(story())


def test_leg_is_known_before_its_invite_is_sent() -> None:
    """A datagram that cannot be sent ends the call at once, and this end must find its leg."""

    class Sending(Gateway):
        def run(self, operation: Callable[[Any, float], Any]) -> Any:
            result = super().run(operation)
            known.append(list(bench.placed))  # the messages are sent here
            return result

    known: list[list[Any]] = []
    bench: PlacementBench

    async def story() -> None:
        nonlocal bench
        bench = PlacementBench()
        sending = Sending(bench.gateway.endpoint, invited=bench.gateway.invited)
        bench.port = replace(bench.port, gateway=cast("Any", sending))
        bench.placement = Placement(bench.port, bench._placed, permit=Permit(Uri("sip")), turn=None, placed=None)
        await bench.invite()
        assert known == [[CALL]]

    run_virtually(story())


def test_invite_of_a_call_that_ends_while_it_waits_is_not_sent() -> None:
    async def story() -> None:
        bench = PlacementBench()
        placing = asyncio.create_task(bench.invite())
        await asyncio.sleep(1)
        bench.is_over = True
        with pytest.raises(LocalProtocolError, match="before it was placed"):
            await placing
        assert bench.asked == []

    run_virtually(story())


@pytest.mark.parametrize("may_fall_back", [True, False])
def test_488_is_answered_by_one_offer_without_srtp_where_the_trunk_takes_it(may_fall_back: bool) -> None:
    async def story() -> None:
        bench = PlacementBench(may_fall_back=may_fall_back)
        await bench.invite()
        refused = sip.CallEnded(CALL, "rejected", 488, "Not Acceptable Here")
        assert bench.placement.falls_back(refused) is may_fall_back
        assert not bench.placement.falls_back(refused)
        assert bench.media.offered == [(True, None), (False, None)][: 1 + may_fall_back]
        assert (bench.placed, bench.gateway.forgotten) == (([CALL, OTHER], [CALL]) if may_fall_back else ([CALL], []))

    run_virtually(story())
