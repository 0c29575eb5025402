"""Numbers, texts and forms that no command, option or request may have, and what the refusal says."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import PlaybookError
from active_call.call.transfer.machine import Mode
from active_call.contract import bounds, commands, wire
from active_call.contract.options import CallOption
from active_call.contract.requests import PlaceCall, RunPlaybook
from active_call.media.record.files import ENDINGS


@pytest.mark.parametrize(
    ("command", "path", "words"),
    [
        ({"command": "interrupt", "fadeOutMs": 1e13}, "fadeOutMs", "expected 0 to 10000, found 10000000000000.0"),
        ({"command": "interrupt", "fade_out_ms": -1}, "fadeOutMs", "expected 0 to 10000, found -1"),
        ({"command": "dtmf", "digits": "1", "duration": 3_000_000}, "duration", "expected 40 to 6000, found 3000000"),
        ({"command": "dtmf", "digits": "1" * 60, "duration": 6000}, "duration", "60000 ms"),
        ({"command": "dtmf", "digits": ""}, "digits", "0-9 A-D"),
        ({"command": "dtmf", "digits": "12x"}, "digits", "found '12x'"),
        ({"command": "dtmf", "digits": "1" * 65}, "digits", "at most 64 characters, found 65"),
        ({"command": "reject", "code": 200}, "code", "expected 300 to 699, found 200"),
        ({"command": "reject", "code": 1e300}, "code", "expected `int`"),
        ({"command": "reject", "reason": "a\r\nVia: x"}, "reason", "control characters"),
        ({"command": "tts", "text": "x" * 20_001}, "text", "at most 20000"),
        ({"command": "tts", "text": "x", "waitInputTimeout": -5}, "waitInputTimeout", "expected 0 to 86400, found -5"),
        ({"command": "tts", "text": "x", "option": {"speed": math.inf}}, "option.speed", "finite"),
        ({"command": "tts", "text": "x", "option": {"speed": math.nan}}, "option.speed", "finite"),
        ({"command": "tts", "text": "\ud83d"}, "text", "Unicode"),
        ({"command": "play", "url": ""}, "url", "empty"),
        ({"command": "play", "url": "x" * 5000}, "url", "4096"),
        ({"command": "history", "speaker": "user", "text": "x" * 20_001}, "text", "at most 20000"),
        ({"command": "message", "body": "x", "contentType": "text/plain\r\nX: y"}, "contentType", "media type"),
        ({"command": "message", "body": "x", "headers": {"X Y": "1"}}, "headers", "'X Y' is not a header name"),
        ({"command": "message", "body": "x", "headers": {"X-Y": "1\r\nVia: z"}}, "headers", "line break"),
        ({"command": "hangup", "headers": {f"X-{n}": "1" for n in range(65)}}, "headers", "at most 64"),
        ({"command": "hangup", "headers": {"": "1"}}, "headers", "not a header name"),
        ({"command": "refer", "callee": ""}, "callee", "empty"),
        ({"command": "refer", "callee": "sip:x@y", "options": {"timeout": -1}}, "options.timeout", "expected 0 to 3600"),
        ({"command": "setVar", "key": "X-A", "value": "1\nVia: x"}, "value", "line break"),
        ({"command": "refer", "callee": "sip:x@y", "options": {"briefing": {"accept": "no"}}}, "options.briefing.accept", "not keys"),
        ({"command": "accept", "option": {"refer": {"briefing": {"decline": "x"}}}}, "option.refer.briefing.decline", "are not keys"),
        ({"command": "setVar", "key": ""}, "key", "empty"),
        ({"command": "accept", "option": {"vad": {"voiceThreshold": 7}}}, "option.vad.voiceThreshold", "expected 0 to 1, found 7"),
        ({"command": "accept", "option": {"eou": {"timeout": -5}}}, "option.eou.timeout", "expected 0 to 60000, found -5"),
        ({"command": "accept", "option": {"recorder": {"recorderFile": "a/../../b.wav"}}}, "option.recorder.recorderFile", "'..'"),
        ({"command": "accept", "option": {"recorder": {"recorderFile": "a\x00b"}}}, "option.recorder.recorderFile", "control"),
        ({"command": "accept", "option": {"sip": {"headers": {"Evil\r\nX": "1"}}}}, "option.sip.headers", "not a header name"),
        ({"command": "accept", "option": {"tts": {"volume": 10**40}}}, "option.tts.volume", "64 bits"),
        ({"command": "record", "action": "dance"}, "action", "expected one of start, stop, pause, resume, found 'dance'"),
        ({"command": "dtmf", "digits": "1", "method": "smoke"}, "method", "expected one of rfc4733, info, inband, found 'smoke'"),
        ({"command": "hold", "mode": "x"}, "mode", "expected one of sendonly, inactive, found 'x'"),
        (
            {"command": "refer", "callee": "sip:x@y", "options": {"mode": "fly"}},
            "options.mode",
            "expected one of refer, bridge, auto, warm",
        ),
        (
            {"command": "accept", "option": {"refer": {"onRequest": "x"}}},
            "option.refer.onRequest",
            "expected one of reject, bridge, found 'x'",
        ),
        ({"command": "refer", "callee": "sip:x@y", "options": {"extraHeaders": {"X": "1\r\nY: 2"}}}, "options.extraHeaders", "line break"),
        ({"command": "accept", "option": {"recorder": {"format": "mp9"}}}, "option.recorder.format", "expected one of wav, ogg"),
        ({"command": "accept", "option": {"mediaPass": {"url": "http://x"}}}, "option.mediaPass.url", "wss://example.com/audio"),
        ({"command": "accept", "option": {"monitor": {"url": "ws://"}}}, "option.monitor.url", "wss://example.com/audio"),
        ({"command": "invite", "option": {"callee": "sip:x@y;transport=foo"}}, "option.callee", "transports udp, tcp, tls, ws, wss"),
    ],
)
def test_command_out_of_bounds_names_key_value_and_range(command: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.decode_command(command)
    assert caught.value.path == path
    assert words in caught.value.reason


def test_recording_formats_are_those_that_can_be_written() -> None:
    assert tuple(ENDINGS) == bounds.RECORDING_FORMATS


def test_transfer_modes_are_those_of_the_machine() -> None:
    assert tuple(Mode) == bounds.TRANSFER_MODES


@pytest.mark.parametrize(
    ("text", "name"), [("null", "null"), ("[]", "an array"), ('"x"', "a string"), ("1", "a number"), ("true", "true or false")]
)
def test_command_that_is_no_object_is_named_as_json_names_it(text: str, name: str) -> None:
    with pytest.raises(wire.ContractError, match=f"a command is a JSON object, found {name}$"):
        wire.decode_command(text)


def _paths(cls: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    for info in msgspec.structs.fields(cls):
        yield (info.encode_name,)
        inner = wire.struct_in(info.type)
        if inner is not None:
            yield from ((info.encode_name, *path) for path in _paths(inner))


ODD_VALUES: tuple[Any, ...] = (
    *(-1, 0, 1e308, 2**63, True, None, "", [], {}, [[[]]], {"a": {"b": [1]}}),
    *("NaN", "1e3", "\x00", "\u202e", "no keys", "a\r\nb: c", "8s"),
)
REQUIRED = {"callee": "sip:x@y", "digits": "1", "action": "start", "targetSessionId": "c.1"}


@pytest.mark.parametrize("name", sorted(wire.COMMAND_TYPES))
def test_odd_value_in_any_field_of_a_command_is_a_value_or_a_contract_error(name: str) -> None:
    cls = wire.COMMAND_TYPES[name]
    for path in _paths(cls):
        for value in ODD_VALUES:
            command: dict[str, Any] = {"command": name}
            command |= {info.encode_name: REQUIRED.get(info.encode_name, "x") for info in msgspec.structs.fields(cls) if info.required}
            inside = command
            for key in path[:-1]:
                inside = inside.setdefault(key, {})
            inside[path[-1]] = value
            with contextlib.suppress(wire.ContractError):
                wire.decode_command(command)


@pytest.mark.parametrize(
    "callee",
    [
        "",
        "   ",
        "hello world",
        "javascript:alert(1)",
        "http://x/",
        "sip:a:secret@b",
        "sip:a b@c",
        "tel:abc",
        "mailto:a@b",
        "sip:",
        "a\nb@c",
    ],
)
def test_callee_that_is_neither_address_nor_number_is_refused(callee: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.convert({"callee": callee, "playbook": "x.md"}, PlaceCall)
    assert caught.value.path == "callee"


@pytest.mark.parametrize(
    "callee",
    [
        "sip:+18005551234@example.com", "sips:a@b;transport=tls", "+18005551234", "18005551234", "tel:+1-800-555;ext=5", "bob@example.com",
        "sip:example.com", "example.com:5070", "sip:x@[::1]:5060;transport=tcp", "+1 (800) 555-1234", "*72", "sip:desk@h?Replaces=a%3Bb",
    ],
)  # fmt: skip
def test_callee_that_may_be_dialled_is_accepted(callee: str) -> None:
    assert wire.convert({"callee": callee, "playbook": "x.md"}, PlaceCall).value.callee == callee


@pytest.mark.parametrize("session_id", ["", "a/b", "a b", "ä", "x" * 129, "..", "a?b", "a%2fb", "a\nb", "a#b"])
def test_session_id_that_no_url_can_hold_is_refused(session_id: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.convert({"callee": "sip:a@b", "id": session_id}, PlaceCall)
    assert caught.value.path == "id"


@pytest.mark.parametrize(("key", "value"), [("sessionId", "a/b"), ("sessionId", "a?b"), ("to", "sip:a@b\r\nVia: x"), ("to", "sip:u:p@b")])
def test_playbook_to_run_is_held_to_the_same_forms(key: str, value: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.convert({"playbook": "x.md", key: value}, RunPlaybook)
    assert caught.value.path == key


def test_session_id_of_a_call_id_is_accepted() -> None:
    assert wire.convert({"callee": "sip:a@b", "id": "c.ff14-3924:1@host~x_y"}, PlaceCall).value.id == "c.ff14-3924:1@host~x_y"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"command":' * 70 + b"1" + b"}" * 70, "nested more than 64"),
        (b'{"command":"tts","text":"\xff"}', "not UTF-8"),
        (b'{"command":"tts","text":"\\ud800"}', "text: expected Unicode text"),
        (b'{"command":"tts","text":"a","text":"b"}', "'text' is given twice"),
        (b'{"command":"custom","data":NaN}', "NaN"),
        (b'{"command":"custom","data":1e999}', "data: expected a finite number"),
        (b'{"command":"custom","data":123456789012345678901234567890}', "data: expected a number of at most 64 bits"),
        (b'{"command":"custom","data":' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"command":"custom","data":{"a":["\\udfff"]}}', "data.a[0]: expected Unicode"),
        (b'{"command":"custom","data":{"\\ud800":1}}', "is no Unicode text"),
        (b'{"command":"custom","data":[' + b"0," * 100_001 + b"0]}", "more than 20000 values"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"", "not JSON"),
    ],
)
def test_json_that_is_ambiguous_or_cannot_be_written_again_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.decode_command(text)
    assert words in str(caught.value)
    str(caught.value).encode()


def test_command_of_this_process_is_held_to_the_same_bounds() -> None:
    wire.check_command(commands.Tts(text="hello"))
    for command in (
        commands.Interrupt(fade_out_ms=10**13),
        commands.Dtmf(digits="1", duration=3_000_000),
        commands.Hangup(headers={"X": "a\r\nb"}),
        commands.Play(url=""),
    ):
        with pytest.raises(wire.ContractError):
            wire.check_command(command)


@pytest.mark.parametrize(
    ("matter", "words"),
    [
        ("vad: {voiceThreshold: 7}", "expected 0 to 1, found 7"),
        ("eou: {timeout: -5}", "expected 0 to 60000, found -5"),
        ("vad: {ratio: .nan}", "finite"),
        ("agc: {maxGainDb: .inf}", "finite"),
        ("inactivityTimeout: -1", "expected 0 to 86400"),
        ("followup: {timeout: -5}", "expected 0 to 3600000, found -5"),
        ("llm: {temperature: 9}", "expected 0 to 2, found 9"),
        ("llm: {maxTokens: 0}", "expected 1 to 1000000"),
        ("interruption: {volumeFadeMs: 10000000000000}", "expected 0 to 10000"),
        ("posthook: {url: 'https://x/', timeout: -1}", "expected 0 to 3600"),
        ("dtmfCollectors: {pin: {maxDigits: 0}}", "expected 1 to 64"),
        ("recorder: {recorderFile: ../x.wav}", "'..'"),
        ("refer: {briefing: {accept: yes please}}", "are not keys"),
    ],
)
def test_playbook_is_held_to_the_same_bounds_with_its_line(matter: str, words: str) -> None:
    with pytest.raises(PlaybookError) as caught:
        parse_playbook(f"---\n{matter}\n---\nHello.\n", file="x.md", environment={})
    assert words in caught.value.reason
    assert caught.value.line == 2


def test_secret_that_is_too_long_is_not_repeated() -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.convert({"sip": {"password": "secret" * 100}}, CallOption)
    assert "secret" not in str(caught.value).replace("sip.password", "")
