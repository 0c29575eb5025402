"""MESSAGE (RFC 3428) and INFO (RFC 6086) inside a SIP call, both directions.

Texts and digits go in and out. A refusal of our request is reported. A request cut off by the end of the call is not.
"""

from __future__ import annotations

from collections.abc import Mapping

from active_call.legs.events import LegDigit, LegMessage, LegRequestRefused
from active_call.legs.sip.digits import DIGIT_PACKAGES, DIGIT_TYPES, RELAY_TYPE, read_digit, write_digit
from active_call.legs.sip.own_headers import sendable
from active_call.legs.sip.plain_text import plain, plain_body
from active_call.legs.sip.ports import LegPort
from active_call.sip import events as sip
from active_call.sip.syntax.body import is_optional
from active_call.sip.syntax.message import Request

NO_HEADERS: sip.HeaderList = ()


class DialogRequests:
    """The texts and digits of one call."""

    def __init__(self, port: LegPort) -> None:
        self._port = port
        self._ours: dict[sip.TransactionToken, str] = {}
        """Our requests without a final response, and their methods."""

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        """Send a MESSAGE. Raises LocalProtocolError if there is no call."""
        self._send("MESSAGE", body.encode(), content_type, headers)

    def send_digits(self, digits: str, duration_ms: int) -> None:
        """Send an INFO for each digit. Raises LocalProtocolError if there is no call."""
        for digit in digits:
            self._send("INFO", write_digit(digit, duration_ms), RELAY_TYPE, {})

    def _send(self, method: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        port = self._port
        token = port.gateway.run(
            lambda endpoint, now: endpoint.request(
                port.call, method, now, headers=sendable(headers.items()), body=body, content_type=content_type
            )
        )
        self._ours[token] = method

    def completed(self, event: sip.RequestCompleted) -> str:
        """A request has its final response, or will get none: remove it. Returns its method, empty for a request that is not ours."""
        return self._ours.pop(event.token, "")

    def refused(self, method: str, event: sip.RequestCompleted) -> None:
        """The peer has refused our request of that method: report it."""
        self._port.emit(LegRequestRefused(method, event.code, plain(event.reason)))

    def received(self, token: sip.TransactionToken, request: Request) -> None:
        """Take a text or digit of the peer and answer with 200. Answer an unsupported INFO with 469 or 415."""
        content_type = plain((request.headers.get("Content-Type") or "").partition(";")[0].strip().lower())
        body = plain_body(request.body)
        code, reason, headers = 200, "OK", NO_HEADERS
        if request.method == "INFO":
            code, reason, headers = _info_answer(request, content_type)
            digit = read_digit(content_type, body) if code == 200 else ""
            if digit:
                self._port.emit(LegDigit(digit))
        elif request.method == "MESSAGE":
            self._port.emit(LegMessage(body, content_type or "text/plain"))
        self._port.gateway.run(lambda endpoint, now: endpoint.respond(token, code, reason, now, headers=headers))


def _info_answer(request: Request, content_type: str) -> tuple[int, str, sip.HeaderList]:
    """Whether an INFO is accepted. One without a body is a keep-alive; one whose body is optional is accepted (RFC 3261 §8.2.3, §20.11)."""
    package = (request.headers.get("Info-Package") or "").partition(";")[0].strip().lower()
    if package and package not in DIGIT_PACKAGES:
        return 469, "Bad Info Package", (("Recv-Info", ""),)  # RFC 6086 §4.2.2: with the supported packages, which are none
    if not request.body.strip() or content_type in DIGIT_TYPES or is_optional(request.headers.get("Content-Disposition")):
        return 200, "OK", NO_HEADERS
    return 415, "Unsupported Media Type", (("Accept", ", ".join(DIGIT_TYPES)),)
