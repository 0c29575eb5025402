"""The contract's JSON: names as protocol.md prints them, both spellings, unknown keys, errors that name the place."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest

from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption

COMMAND_NAMES = """
    accept addIceCandidate bridge custom dtmf hangup history hold interrupt invite message mute pause play record refer reject renegotiate
    resume ringing setVar tts unbridge unhold unmute
"""
EVENT_NAMES = """
    addHistory answer answerMachineDetection asrDelta asrFinal binary bridge custom dtmf eou error functionCall hangup hold inactivity
    incoming interrupt interruption mediaProblem mediaReady message metrics other ping reject replyEnd ringbackState ringing rtpTimeout
    silence speaking trackEnd trackStart transfer transferRequest turn
"""


def test_union_names_are_those_of_the_contract() -> None:
    assert sorted(cls.__struct_config__.tag for cls in get_args(commands.Command)) == COMMAND_NAMES.split()
    assert sorted(cls.__struct_config__.tag for cls in get_args(events.Event)) == EVENT_NAMES.split()


def test_command_in_camel_and_snake_case_is_the_same() -> None:
    camel = wire.decode_command(b'{"command":"tts","text":"hi","playId":"a","autoHangup":true,"endOfStream":true}')
    snake = wire.decode_command({"command": "tts", "text": "hi", "play_id": "a", "auto_hangup": True, "end_of_stream": True})
    assert camel.value == snake.value == commands.Tts(text="hi", play_id="a", auto_hangup=True, end_of_stream=True)
    assert camel.unknown == snake.unknown == []


def test_command_with_extra_keys_is_accepted_and_they_are_named() -> None:
    decoded = wire.decode_command({"command": "tts", "text": "x", "zzz": 1, "option": {"speaker": "a", "yyy": 2}})
    assert decoded.unknown == ["zzz", "option.yyy"]
    assert isinstance(decoded.value, commands.Tts)
    assert decoded.value.option is not None
    assert decoded.value.option.speaker == "a"


def test_keys_of_free_maps_are_left_alone() -> None:
    decoded = wire.decode_command({"command": "hangup", "headers": {"X-Reason_Code": "a", "some_key": "b"}})
    assert decoded.value == commands.Hangup(headers={"X-Reason_Code": "a", "some_key": "b"})


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        (b"{", "", "not JSON"),
        (b"[]", "", "JSON object"),
        (b"{}", "command", "missing"),
        (b'{"command":"tst"}', "command", "'tts'"),
        (b'{"command":"play"}', "url", "missing"),
        (b'{"command":"tts"}', "text", "missing"),
        (b'{"command":"tts","text":null}', "text", "str"),
        (b'{"command":"tts","playId":"1","streaming":true}', "text", "missing"),
        (b'{"command":"refer","callee":"sip:a@b","options":{"briefing":{"text":7}}}', "options.briefing.text", "str"),
        (b'{"command":"reject","code":"x"}', "code", "int"),
        (b'{"command":"accept","option":{"sip":{"headers":3}}}', "option.sip.headers", "object"),
    ],
)
def test_bad_command_names_place_and_reason(data: bytes, path: str, words: str) -> None:
    with pytest.raises(wire.ContractError) as caught:
        wire.decode_command(data)
    assert caught.value.path == path
    assert words in str(caught.value)


@pytest.mark.parametrize("flag", ["endOfStream", "autoHangup", "end_of_stream"])
def test_speech_without_a_text_may_end_what_plays(flag: str) -> None:
    """A client that streams sentences ends them so; one that was given an empty sentence sends it."""
    assert isinstance(wire.decode_command({"command": "tts", "playId": "1", flag: True}).value, commands.Tts)
    assert wire.decode_command({"command": "tts", "text": ""}).value == commands.Tts()


def test_strict_conversion_names_the_nearest_known_key() -> None:
    with pytest.raises(wire.ContractError, match="did you mean 'provider'") as caught:
        wire.convert({"asr": {"provdier": "x"}}, CallOption, path="option", strict=True)
    assert caught.value.path == "option.asr.provdier"


def test_aliases_of_the_contract_are_accepted() -> None:
    option = wire.convert({"asr": {"apiKey": "k", "model": "m"}, "tts": {"voice": "v", "api_key": "q"}}, CallOption, strict=True).value
    assert option.asr is not None
    assert (option.asr.secret_key, option.asr.model_type) == ("k", "m")
    assert option.tts is not None
    assert (option.tts.model, option.tts.secret_key) == ("v", "q")
    assert wire.decode_command({"command": "message", "text": "hello"}).value == commands.Message(body="hello")


def test_event_leaves_out_what_is_absent_and_keeps_what_is_false_or_zero() -> None:
    assert json.loads(wire.encode_event(events.Ringing(timestamp=5))) == {"event": "ringing", "timestamp": 5, "earlyMedia": False}
    assert json.loads(wire.encode_event(events.TrackEnd(timestamp=5, play_id="a"))) == {
        "event": "trackEnd",
        "timestamp": 5,
        "duration": 0,
        "ssrc": 0,
        "playId": "a",
    }
    assert json.loads(wire.encode_event(events.Dtmf(digit="1", refer=True)))["refer"] is True


def test_hangup_event_names_its_parties_as_the_contract_does() -> None:
    event = events.Hangup(reason="x", from_=events.Attendee(username="+1", realm="a", source="sip:+1@a"))
    assert json.loads(wire.encode_event(event))["from"] == {"username": "+1", "realm": "a", "source": "sip:+1@a"}


@pytest.mark.parametrize("cls", get_args(events.Event))
def test_every_event_survives_its_json(cls: type) -> None:
    required = {"caller": "a", "callee": "b", "digit": "1", "on_hold": True, "refer_to": "x", "body": "b", "state": "s", "call_id": "c"}
    required |= {"name": "n", "arguments": "{}", "key": "k", "sender": "s", "error": "e", "speaker": "s", "text": "t", "data": b"d"}
    required |= {"target": "t", "index": 1, "problem": "p", "target_session_id": "s"}
    given = {name: required[name] for name in cls.__struct_fields__ if name in required and _is_required(cls, name)}
    event = cls(timestamp=1, **given)
    assert wire.decode_event(wire.encode_event(event)) == (
        event if cls is not events.Custom else wire.decode_event(wire.encode_event(event))
    )


def _is_required(cls: type, name: str) -> bool:
    info = next(info for info in msgspec.structs.fields(cls) if info.name == name)
    return info.required
