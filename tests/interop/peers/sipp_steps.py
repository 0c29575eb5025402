"""Scenarios for SIPp as a list of steps: what it sends, and what it must get; anything else fails the call.

`Steps("calls")` places the call, `Steps("called")` takes it. Each step is one message, so a test reads like the ladder it draws. Only the
XML is made here; whether what comes is right is SIPp's to judge, by its own parser and the regular expressions of `has` and `body`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

SDP = """\
v=0
o=sipp 53655765 {version} IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] {address}
t=0 0
m=audio {port} RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
a=ptime:20
a={direction}
"""
_US = "<sip:+15550100@[local_ip]:[local_port]>;tag=[pid]s[call_number]"
_CONTACT = "Contact: <sip:+15550100@[local_ip]:[local_port];transport=[transport]>"
_NO_CONTACT = ("BYE", "CANCEL", "ACK", "PRACK", "INFO", "MESSAGE")


def sdp(direction: str = "sendrecv", *, version: int = 1, address: str = "[media_ip]", port: str = "[media_port]") -> str:
    """A description of one PCMU stream at SIPp's own media port; `SPEAKING` where `speaks` is to send."""
    return SDP.format(direction=direction, version=version, address=address, port=port)


SPEAKING = "[rtpstream_audio_port]"
"""The port that SIPp streams from."""


class Steps:
    """One scenario. Every method appends a step and gives the scenario back."""

    def __init__(self, role: Literal["calls", "called"]) -> None:
        self._is_caller = role == "calls"
        self._steps: list[str] = []
        self._invites: list[int] = []
        self._used: set[str] = set()

    # -- requests that SIPp sends

    def invite(self, body: str | None = None, *, cseq: int = 1, headers: str = "", retransmits: bool = True) -> Steps:
        """The first INVITE; `body` None offers a stream, an empty one delays the offer."""
        self._invites.append(len(self._steps))
        start = "INVITE sip:[service]@[remote_ip]:[remote_port];transport=[transport] SIP/2.0"
        to = "<sip:[service]@[remote_ip]:[remote_port]>"
        return self._request(start, to, f"{cseq} INVITE", _CONTACT, headers, sdp() if body is None else body, retransmits)

    def ask(
        self, method: str, *, cseq: int, headers: str = "", body: str = "", content_type: str = "application/sdp", retransmits: bool = True
    ) -> Steps:
        """A request inside the dialog."""
        if method == "INVITE":
            self._invites.append(len(self._steps))
        target, to = ("[next_url]", "<sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]")
        if not self._is_caller:
            target, to = "[$target]", "[$caller]"
            self._used |= {"target", "caller"}
        contact = "" if method in _NO_CONTACT else _CONTACT
        start = f"{method} {target} SIP/2.0"
        return self._request(start, to, f"{cseq} {method}", contact, headers, body, retransmits and method != "ACK", content_type)

    def ack(self, *, cseq: int = 1, body: str = "") -> Steps:
        """The ACK to a 2xx."""
        return self.ask("ACK", cseq=cseq, body=body)

    def ack_refusal(self, *, cseq: int = 1) -> Steps:
        """The ACK to a final response that is no 2xx: the INVITE's own Via."""
        lines = ["ACK sip:[service]@[remote_ip]:[remote_port];transport=[transport] SIP/2.0", "[last_Via:]", f"From: {_US}", "[last_To:]"]
        return self._send([*lines, "Call-ID: [call_id]", f"CSeq: {cseq} ACK", "Max-Forwards: 70"], "", "", retransmits=False)

    def cancel(self, *, cseq: int = 1) -> Steps:
        """A CANCEL of the last INVITE."""
        back = len(self._steps) - self._invites[-1]
        lines = ["CANCEL sip:[service]@[remote_ip]:[remote_port];transport=[transport] SIP/2.0"]
        lines += [f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch-{back}]", f"From: {_US}"]
        lines += ["To: <sip:[service]@[remote_ip]:[remote_port]>", "Call-ID: [call_id]", f"CSeq: {cseq} CANCEL", "Max-Forwards: 70"]
        return self._send(lines, "", "", retransmits=True)

    # -- responses that SIPp sends

    def answer(
        self, code: int, reason: str = "Whatever", *, headers: str = "", body: str = "", tag: str = "", within: bool = False, to: str = ""
    ) -> Steps:
        """A response to the request that came last. `within`: it had a To tag; `tag` makes another early dialog; `to` names the request
        whose headers were kept by `keep`, where another one came since."""
        own_tag = "" if within or code == 100 else f";tag=[pid]{tag or 's'}[call_number]"
        lines = [f"SIP/2.0 {code} {reason}"]
        if to:
            lines += [f"Via: [${to}_via]", f"From: [${to}_from]", f"To: [${to}_to]{own_tag}", "Call-ID: [call_id]", f"CSeq: [${to}_cseq]"]
            self._used |= {f"{to}_{part}" for part in ("via", "from", "to", "cseq")}
        else:
            lines += ["[last_Via:]", "[last_Record-Route:]", "[last_From:]", f"[last_To:]{own_tag}", "[last_Call-ID:]", "[last_CSeq:]"]
        if code < 300:
            lines.append(_CONTACT)
        return self._send([*lines, *_lines(headers)], body, "application/sdp", retransmits=False)

    # -- what SIPp must get

    def gets(
        self,
        code: int,
        *,
        to: str = "",
        optional: bool = False,
        makes_route: bool = False,
        has: dict[str, str] | None = None,
        body: str = "",
    ) -> Steps:
        """A response; `to` is the CSeq it answers, `has` header names and what their values must match, `body` what the body must."""
        checks = {**({"CSeq": to} if to else {}), **(has or {})}
        attributes = (
            f'response="{code}"{" optional=" + quoteattr("true") if optional else ""}{" rrs=" + quoteattr("true") if makes_route else ""}'
        )
        return self._receive(attributes, checks, body)

    def is_asked(
        self,
        method: str,
        *,
        keep: str = "",
        has: dict[str, str] | None = None,
        body: str = "",
        optional: bool = False,
        timeout_s: float = 20,
    ) -> Steps:
        """A request. The first INVITE of a called side tells whom to ask later; `keep` remembers its headers under a name."""
        taken = ""
        if method == "INVITE" and not self._is_caller and not self._invites:
            self._invites.append(len(self._steps))
            taken = _take("From", "(.*)", "caller") + _take("Contact", "<([^>]*)>", "target")
            self._used |= {"caller", "target", "ignored"}
        if keep:
            taken += "".join(_take(name, "(.*)", f"{keep}_{part}") for name, part in _KEPT)
            self._used |= {f"{keep}_{part}" for _, part in _KEPT} | {"ignored"}
        attributes = f'request="{method}" timeout="{round(timeout_s * 1000)}"{" optional=" + quoteattr("true") if optional else ""}'
        return self._receive(attributes, has or {}, body, taken)

    # -- other

    def pause(self, seconds: float) -> Steps:
        """Wait; nothing may come meanwhile."""
        self._steps.append(f'<pause milliseconds="{round(seconds * 1000)}"/>')
        return self

    def speaks(self) -> Steps:
        """From now on it sends noise, so that it does not count as gone."""
        self._steps.append('<nop><action><exec rtp_stream="speech.ul,-1,0,PCMU/8000"/></action></nop>')
        return self

    def write(self, path: Path, name: str = "steps") -> Path:
        """The scenario file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        used = ",".join(sorted(self._used))
        reference = f'<Reference variables="{used}"/>' if used else ""
        head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
        path.write_text(f'{head}<scenario name="{name}">\n' + "\n".join(self._steps) + f"\n{reference}\n</scenario>\n")
        return path

    # -- inside

    def _request(
        self,
        start: str,
        to: str,
        cseq: str,
        contact: str,
        headers: str,
        body: str,
        retransmits: bool,
        content_type: str = "application/sdp",
    ) -> Steps:
        own = _US if self._is_caller else "<sip:[service]@[local_ip]:[local_port]>;tag=[pid]s[call_number]"
        lines = [start, "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]", "[routes]", f"From: {own}", f"To: {to}"]
        lines += ["Call-ID: [call_id]", f"CSeq: {cseq}", "Max-Forwards: 70", *([contact] if contact else []), *_lines(headers)]
        return self._send(lines, body, content_type, retransmits=retransmits)

    def _send(self, lines: list[str], body: str, content_type: str, *, retransmits: bool) -> Steps:
        text = [*lines, *([f"Content-Type: {content_type}"] if body else []), "Content-Length: [len]", "", *body.splitlines()]
        attribute = ' retrans="500"' if retransmits else ""
        self._steps.append(f"<send{attribute}><![CDATA[\n" + "\n".join(text) + "\n]]></send>")
        return self

    def _receive(self, attributes: str, has: dict[str, str], body: str, taken: str = "") -> Steps:
        checks = [
            f'<ereg regexp={quoteattr(pattern)} search_in="hdr" header="{name}:" check_it="true" assign_to="checked"/>'
            for name, pattern in has.items()
        ]
        if body:
            checks.append(f'<ereg regexp={quoteattr(body)} search_in="body" check_it="true" assign_to="checked"/>')
        if checks:
            self._used.add("checked")
        action = f"<action>{''.join(checks)}{taken}</action>" if checks or taken else ""
        self._steps.append(f"<recv {attributes}>{action}</recv>")
        return self


_KEPT = (("Via", "via"), ("From", "from"), ("To", "to"), ("CSeq", "cseq"))


def _take(header: str, pattern: str, variable: str) -> str:
    return f'<ereg regexp="{escape(pattern)}" search_in="hdr" header="{header}:" check_it="true" assign_to="ignored,{variable}"/>'


def _lines(headers: str) -> list[str]:
    return [line.strip() for line in headers.splitlines() if line.strip()]
