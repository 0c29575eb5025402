"""Checks of commands, options and requests that a type cannot express: the form of texts, and rules over several fields.

In: a value whose fields have the right types and bounds. Out: the first place that is wrong, with the reason. Knows no JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from active_call.contract import bounds, commands, options, requests

Finding = tuple[str, str]
"""The field's name in Python, and the reason."""


def first_fault(value: Any) -> tuple[list[str], str] | None:
    """The path (names on the wire) and the reason of the first mistake in `value`, at any depth; None if there is none."""
    if not isinstance(value, msgspec.Struct):
        return None
    check = _CHECKS.get(type(value))
    found = next(check(value), None) if check is not None else None
    names = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    if found is not None:
        return [names[found[0]]], found[1]
    for name in value.__struct_fields__:
        inner = first_fault(getattr(value, name))
        if inner is not None:
            return [names[name], *inner[0]], inner[1]
    return None


def _found(name: str, reason: str, value: object = None) -> Iterator[Finding]:
    if reason:
        yield name, reason if value is None else f"{reason}, found {_excerpt(value)}"


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _lines(value: msgspec.Struct, *names: str) -> Iterator[Finding]:
    for name in names:
        text = getattr(value, name)
        if text:
            yield from _found(name, bounds.against_line(text))


def _spoken(name: str, text: str) -> Iterator[Finding]:
    if len(text) > bounds.MAX_TEXT_CHARS:
        yield name, f"expected at most {bounds.MAX_TEXT_CHARS} characters, found {len(text)}"


def _sip(value: options.SipOption) -> Iterator[Finding]:
    yield from _lines(value, "username", "password", "realm", "contact")
    yield from _found("headers", bounds.against_headers(value.headers))
    yield from _found("hangup_headers", bounds.against_headers(value.hangup_headers))


def _choice(name: str, value: str | None, known: tuple[str, ...]) -> Iterator[Finding]:
    if value is not None and value not in known:
        yield from _found(name, f"expected one of {', '.join(known)}", value)


def _recorder(value: options.RecorderOption) -> Iterator[Finding]:
    yield from _found("recorder_file", bounds.against_recorder_file(value.recorder_file or ""), value.recorder_file)
    yield from _choice("format", value.format, bounds.RECORDING_FORMATS)


def _media_pass(value: options.MediaPassOption) -> Iterator[Finding]:
    if value.url:
        yield from _found("url", bounds.against_socket_url(value.url), value.url)


def _monitor(value: options.MonitorOption) -> Iterator[Finding]:
    if value.url:
        yield from _found("url", bounds.against_socket_url(value.url), value.url)


def _refer_option(value: options.ReferOption) -> Iterator[Finding]:
    yield from _lines(value, "moh", "call_id")
    yield from _choice("mode", value.mode, bounds.TRANSFER_MODES)
    yield from _choice("on_request", value.on_request, bounds.ON_REQUEST)
    yield from _found("extra_headers", bounds.against_headers(value.extra_headers))


def _briefing(value: options.BriefingOption) -> Iterator[Finding]:
    for name in ("accept", "decline"):
        keys = getattr(value, name) or ""
        if not set(keys) <= set("0123456789*#"):
            yield from _found(name, f"{keys!r} are not keys; expected some of 0-9, * and #")


def _call_option(value: options.CallOption) -> Iterator[Finding]:
    yield from _lines(value, "caller", "callee")
    if value.callee is not None:
        yield from _found("callee", bounds.against_callee(value.callee), value.callee)


def _place_call(value: requests.PlaceCall) -> Iterator[Finding]:
    yield from _found("callee", bounds.against_callee(value.callee), value.callee)
    yield from _lines(value, "caller", "playbook")
    if value.id is not None:
        yield from _found("id", bounds.against_session_id(value.id), value.id)


def _run_playbook(value: requests.RunPlaybook) -> Iterator[Finding]:
    if value.to:
        yield from _found("to", bounds.against_callee(value.to), value.to)
    if value.session_id is not None:
        yield from _found("session_id", bounds.against_session_id(value.session_id), value.session_id)


def _reject(value: commands.Reject) -> Iterator[Finding]:
    yield from _lines(value, "reason")


def _tts(value: commands.Tts) -> Iterator[Finding]:
    yield from _lines(value, "speaker", "play_id", "cache_key")
    if not value.base64:
        yield from _spoken("text", value.text)


def _play(value: commands.Play) -> Iterator[Finding]:
    yield from _found("url", "empty; expected a file, a URL or a tone" if not value.url.strip() else "")
    yield from _lines(value, "url")


def _refer(value: commands.Refer) -> Iterator[Finding]:
    yield from _found("callee", bounds.against_callee(value.callee), value.callee)
    yield from _lines(value, "caller")


def _message(value: commands.Message) -> Iterator[Finding]:
    yield from _found("headers", bounds.against_headers(value.headers))
    if value.content_type:
        yield from _found("content_type", bounds.against_content_type(value.content_type), value.content_type)


def _hangup(value: commands.Hangup) -> Iterator[Finding]:
    yield from _lines(value, "reason", "initiator")
    yield from _found("headers", bounds.against_headers(value.headers))


def _history(value: commands.History) -> Iterator[Finding]:
    yield from _lines(value, "speaker")
    yield from _spoken("text", value.text)


def _hold(value: commands.Hold) -> Iterator[Finding]:
    yield from _choice("mode", value.mode, bounds.HOLD_MODES)


def _record(value: commands.Record) -> Iterator[Finding]:
    yield from _choice("action", value.action, bounds.RECORD_ACTIONS)


def _dtmf(value: commands.Dtmf) -> Iterator[Finding]:
    yield from _choice("method", value.method, bounds.DTMF_METHODS)
    yield from _found("digits", bounds.against_digits(value.digits), value.digits)
    if len(value.digits) * value.duration > bounds.MAX_DIGITS_MS:
        n_ms = len(value.digits) * value.duration
        yield "duration", f"expected all digits to take at most {bounds.MAX_DIGITS_MS} ms, found {n_ms} ms"


def _set_var(value: commands.SetVar) -> Iterator[Finding]:
    yield from _found("key", "empty; expected the name of a variable" if not value.key else bounds.against_line(value.key))
    if value.key[:2].lower() == "x-":
        yield from _found("value", bounds.against_headers({value.key: str(value.value)}))


_CHECKS: Final[dict[type, Callable[[Any], Iterator[Finding]]]] = {
    options.SipOption: _sip,
    options.RecorderOption: _recorder,
    options.MediaPassOption: _media_pass,
    options.MonitorOption: _monitor,
    options.ReferOption: _refer_option,
    options.BriefingOption: _briefing,
    options.CallOption: _call_option,
    requests.PlaceCall: _place_call,
    requests.RunPlaybook: _run_playbook,
    commands.Reject: _reject,
    commands.Tts: _tts,
    commands.Play: _play,
    commands.Refer: _refer,
    commands.Message: _message,
    commands.Hangup: _hangup,
    commands.History: _history,
    commands.Hold: _hold,
    commands.Record: _record,
    commands.Dtmf: _dtmf,
    commands.SetVar: _set_var,
}
