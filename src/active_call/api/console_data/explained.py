"""Explains a call in plain words: a record enters, remarks leave. Pure; every remark is derived from the record.

The remarks are for an operator who was not on the call: how it ended and through whom, what was slow and why, what was lost, what failed.
Limits for sound: ITU-T G.107 (MOS), G.114 (delay).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

SLOW_MS: Final = 1500.0
"""Most callers notice a longer reply time."""
MAX_LOSS: Final = 0.03
MAX_JITTER_MS: Final = 40.0
MAX_ROUND_TRIP_MS: Final = 400.0
"""Twice the largest one-way delay that G.114 calls acceptable."""
LOW_MOS: Final = 3.6
"""Below this, many users are dissatisfied (G.107, annex B)."""
MAX_ERRORS: Final = 8

SIP_CODES: Final[Mapping[int, str]] = {
    401: "our credentials were not accepted",
    403: "it is forbidden: credentials, caller number or permissions of the account",
    404: "the number or user is not known there",
    407: "our credentials were not accepted",
    408: "nobody answered in time",
    410: "the number is no longer in use",
    415: "the SDP was not understood",
    480: "the callee cannot be reached now",
    484: "the number is not complete",
    486: "the callee is busy",
    487: "the call was withdrawn before it was answered",
    488: "the two sides have no codec or encryption in common",
    500: "the other server failed",
    502: "a gateway on the path failed",
    503: "the other side is out of service or full, or cannot be reached",
    504: "a server on the path did not answer",
    600: "the callee is busy everywhere",
    603: "the callee declined",
    607: "the callee does not want this call",
}
OWNERS: Final[Mapping[str, str]] = {
    "turn": "deciding that the caller had finished",
    "recogniser": "the speech recogniser",
    "model": "the language model",
    "synthesiser": "the speech synthesiser",
    "web": "a web server",
    "server": "this server itself",
}
ENDS: Final[Mapping[str, str]] = {
    "cancelled": "it was withdrawn before it was answered",
    "error": "of an error",
    "far_hangup": "the target of the transfer hung up",
    "inactivity": "nobody said anything for too long",
    "media_lost": "a media process died",
    "no_media": "no media could be connected",
    "outbound_minutes": "the minutes of the hour were used up",
    "overload": "this server was overloaded",
    "replaced": "another call replaced it",
    "rtp_timeout": "no more sound came from the other side",
    "shutdown": "this server was stopped",
    "timeout": "it was not answered in time",
    "transferred": "the caller was transferred",
    "crashed": "this server died",
}
PROBLEMS: Final[Mapping[str, str]] = {
    "nothing_received": "No sound came from the other side after the answer",
    "receiving_stopped": "The sound of the other side stopped",
    "not_heard": "The other side did not receive our sound",
}


class Remark(Struct, frozen=True):
    """One fact about a call, as a sentence."""

    level: Literal["good", "note", "problem"]
    text: str


def explain_record(record: Mapping[str, Any]) -> list[Remark]:
    """The remarks about a record (`CallRecord` as JSON values), the end of the call first. Never empty."""
    remarks = [_end(record), *_sound(record), *_replies(record), *_caller(record), *_transfers(record), *_errors(record)]
    if not any(remark.level == "problem" for remark in remarks):
        remarks.append(Remark("good", "The record shows no fault."))
    return remarks


def _end(record: Mapping[str, Any]) -> Remark:
    status, code, error = record.get("status"), record.get("sipCode"), record.get("error")
    because = SIP_CODES.get(code or 0, "")
    told = f" (SIP {code}{f': {because}' if because else ''})" if code else ""
    if status == "answered":
        reason, by = str(record.get("hangupReason") or ""), record.get("hangupBy") or "nobody known"
        why = f" because {ENDS[reason]}" if reason in ENDS else ""
        is_fault = reason in ("error", "media_lost", "no_media", "overload", "rtp_timeout", "shutdown")
        return Remark("problem" if is_fault else "note", f"Answered; after {_seconds(record.get('durationS'))} ended by {by}{why}.")
    if status == "crashed":
        return Remark("problem", f"The server died during the call: {error or 'nothing more is known'}.")
    if record.get("hangupReason") == "cancelled":
        return Remark("note", f"The {record.get('hangupBy') or 'caller'} gave up before the call was answered.")
    who = "This server did not accept the call" if record.get("direction") == "inbound" else "The other side did not accept the call"
    return Remark("problem", f"{who}{told}{f': {error}' if error else ''}.")


def _sound(record: Mapping[str, Any]) -> Iterator[Remark]:
    media = record.get("media") or {}
    for problem in media.get("problems") or ():
        words = PROBLEMS.get(problem.get("problem"), str(problem.get("problem")))
        detail = f": {problem['detail']}" if problem.get("detail") else ""
        yield Remark("problem", f"{words}{detail}.{' It came back later.' if problem.get('overAt') else ''}")
    received, lost = _number(media.get("packets_received")), _number(media.get("packets_lost"))
    if record.get("answerTime") and media and not received and not media.get("problems"):
        yield Remark("problem", "Not one packet of sound came from the other side: a firewall, or a wrong address in the SDP.")
    if received + lost > 100 and lost / (received + lost) > MAX_LOSS:
        yield Remark("problem", f"{lost / (received + lost):.0%} of the sound from the other side was lost on the network.")
    if _number(media.get("jitter_ms")) > MAX_JITTER_MS:
        yield Remark("problem", f"Packets arrived unevenly (jitter {media['jitter_ms']:.0f} ms): expect gaps or a longer delay.")
    if _number(media.get("round_trip_ms")) > MAX_ROUND_TRIP_MS:
        yield Remark("problem", f"A packet took {media['round_trip_ms']:.0f} ms to the other side and back: people talk over each other.")
    if 0 < _number(media.get("mos")) < LOW_MOS:
        yield Remark("problem", f"The sound was poor: estimated MOS {media['mos']:.1f} of 4.5.")
    else:
        yield from _poor_moments(record)
    if record.get("recordingError"):
        yield Remark("problem", f"The recording is not complete: {record['recordingError']}.")


def _poor_moments(record: Mapping[str, Any]) -> Iterator[Remark]:
    """When a call with good average quality sounded bad for a while."""
    samples = [sample for sample in record.get("quality") or () if sample.get("mos") is not None]
    poor = [sample for sample in samples if sample["mos"] < LOW_MOS]
    if not poor:
        return
    worst = min(poor, key=lambda sample: sample["mos"])
    try:
        answered_at = datetime.fromisoformat(str(record.get("answerTime"))).timestamp()
        when = f", {max(0.0, worst['timestamp'] / 1000 - answered_at):.0f} s after the answer"
    except ValueError:
        when = ""
    times = "once" if len(poor) == 1 else f"in {len(poor)} of {len(samples)} stretches"
    yield Remark("problem", f"The sound was poor {times}: estimated MOS {worst['mos']:.1f} of 4.5 at worst{when}.")


def _replies(record: Mapping[str, Any]) -> Iterator[Remark]:
    measured = [turn for turn in record.get("turns") or () if turn.get("latencyMs") is not None]
    slow = [turn for turn in measured if turn["latencyMs"] > SLOW_MS]
    if measured:
        middle = sorted(turn["latencyMs"] for turn in measured)[len(measured) // 2]
        many = f"{len(measured)} replies of the agent were measured, half of them within {middle:.0f} ms."
        yield Remark("note", many if len(measured) > 1 else f"The agent replied within {middle:.0f} ms.")
    if slow:
        worst = max(slow, key=lambda turn: turn["latencyMs"])
        waits = Counter[str]()
        for wait in worst.get("waits") or ():
            waits[wait["owner"]] += wait["duration"]
        owner, spent = waits.most_common(1)[0] if waits else ("", 0.0)
        longest = f" Most of it ({spent:.0f} ms) was spent on {OWNERS.get(owner, owner)}." if owner else ""
        yield Remark(
            "problem",
            f"{len(slow)} of {len(measured)} replies took over {SLOW_MS / 1000:g} s; the slowest {worst['latencyMs']:.0f} ms.{longest}",
        )
    n_cut = sum(bool(turn.get("interrupted")) for turn in record.get("turns") or ())
    if n_cut:
        yield Remark("note", f"The caller interrupted the agent {n_cut} time(s).")


def _caller(record: Mapping[str, Any]) -> Iterator[Remark]:
    if not record.get("answerTime"):
        return
    events = record.get("events") or ()
    has_spoken = any(event.get("event") == "speaking" and not event.get("refer") for event in events)
    has_words = any(turn.get("speaker") == "caller" for turn in record.get("turns") or ())
    if record.get("playbook") and not has_words:
        heard = "The caller spoke, but no words were recognised" if has_spoken else "The caller said nothing"
        yield Remark("problem" if has_spoken else "note", f"{heard}.")
    empty = [event for event in events if event.get("event") == "asrFinal" and not event.get("text") and not event.get("refer")]
    lost = sum(bool(event.get("isLost")) for event in empty)
    if lost:
        yield Remark("problem", f"{lost} utterance(s) were not recognised, because the recogniser was overloaded or did not answer.")
    if has_words and len(empty) - lost > 0:
        yield Remark("note", f"{len(empty) - lost} utterance(s) of the caller could not be understood.")


def _transfers(record: Mapping[str, Any]) -> Iterator[Remark]:
    for transfer in record.get("transfers") or ():
        target, state, code = transfer.get("target"), transfer.get("state"), transfer.get("code")
        because = transfer.get("reason") or SIP_CODES.get(code or 0, "")
        told = f" ({code}{f': {because}' if because else ''})" if code and state == "failed" else ""
        yield Remark("problem" if state == "failed" else "note", f"Transfer to {target}: {state}{told}.")


def _errors(record: Mapping[str, Any]) -> Iterator[Remark]:
    told = Counter(
        (str(event.get("sender")), str(event.get("error"))) for event in record.get("events") or () if event.get("event") == "error"
    )
    for (sender, error), n in list(told.items())[:MAX_ERRORS]:
        yield Remark("problem", f"{sender}: {error}{f' ({n} times)' if n > 1 else ''}.")
    if len(told) > MAX_ERRORS:
        yield Remark("problem", f"{len(told) - MAX_ERRORS} more kinds of errors are in the events.")


def _seconds(value: Any) -> str:
    seconds = _number(value)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _number(value: Any) -> float:
    """A figure of a record; 0 if it is absent or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
