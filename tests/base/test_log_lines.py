"""Log lines can be read back without doubt, whatever their values hold."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.log_lines import PlainFormatter, RecordFormatter, read_record
from active_call.server.logs import JsonFormatter

NASTY = ["\x1b[2J", "\0", "a\r\nb", '" trunk="twilio', "\u202eevil", "\u2028next", "\ud800", "a=b", "\\", "\x85", "back\\", "", " "]
TOKEN = re.compile(r' ([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?= |$)')


def record_of(message: str = "refused", *args: object, **fields: Any) -> logging.LogRecord:
    record = logging.LogRecord("active_call.sip", logging.WARNING, "", 0, message, args, None)
    record.__dict__.update(fields)
    return record


def fields_in(line: str) -> dict[str, str]:
    """The fields of a line, as a log reader takes them apart."""
    tail = line.partition(": ")[2]
    tail = tail[tail.index("  ") + 1 :] if "  " in tail else ""
    assert TOKEN.sub("", tail).strip() == "", tail
    return {key: json.loads(value) if value.startswith('"') else value for key, value in TOKEN.findall(tail)}


@given(st.one_of(st.sampled_from(NASTY), st.text(max_size=80)), st.one_of(st.sampled_from(NASTY), st.text(max_size=80)))
def test_no_value_can_forge_a_field_or_a_line(first: str, second: str) -> None:
    line = PlainFormatter().format(record_of(user_agent=first, rule="unlisted", detail=second))
    assert "\n" not in line
    assert line.isprintable()
    expected = {"user_agent": first, "rule": "unlisted", "detail": second}
    assert fields_in(line) == {key: value for key, value in expected.items() if value}


@pytest.mark.parametrize("text", NASTY)
def test_json_line_is_one_line_of_ascii(text: str) -> None:
    line = JsonFormatter().format(record_of(user_agent=text, level="fake", message="x"))
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["user_agent"] == text
    assert json.loads(line)["level"] == "warning"


@pytest.mark.parametrize("value", [float("nan"), {1: {2}}, object(), b"\xff", [1, [2]]])
def test_any_value_makes_a_line(value: object) -> None:
    assert json.loads(JsonFormatter().format(record_of(value=value)))["message"] == "refused"
    assert "value=" in PlainFormatter().format(record_of(value=value))


def test_value_that_cannot_be_shown_does_not_lose_the_line() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    for formatter in (PlainFormatter(), JsonFormatter(), RecordFormatter()):
        assert "cannot be shown" in formatter.format(record_of(value=Broken()))


def test_value_that_holds_itself_makes_a_line() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert json.loads(JsonFormatter().format(record_of(value=endless)))["message"] == "refused"


def test_message_of_another_library_cannot_forge_fields() -> None:
    line = PlainFormatter().format(record_of("got %s", 'x  trunk="twilio"'))
    assert fields_in(line.replace(line.partition(": ")[2], "x")) == {}
    assert '"got x  trunk=\\"twilio\\""' in line


def test_message_with_arguments_that_do_not_fit_is_written() -> None:
    assert "got %s %s" in PlainFormatter().format(record_of("got %s %s", 1))


def test_traceback_cannot_forge_a_line_and_is_bounded() -> None:
    record = record_of()
    try:
        raise ValueError("bad\n12:00:00.000 INFO    sip: refused  trunk=twilio\x1b[2J" + "\nx" * 5000)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    lines = PlainFormatter().format(record).split("\n")
    assert len(lines) < 200
    assert all(line.startswith("    | ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "+190015144433322: this number is forbidden by [outbound] deny_numbers",
        "404 for sip:+4930123456@example.com;user=phone",
        "no answer of <sip:erika@example.com>",
        "tel:+49-30-123456 is busy",
        "+49 (30) 123 456 cannot be called",
        "there is no file /recordings/004930123456.wav",
        ["callee", "+4930123456"],
    ],
)
def test_switch_takes_numbers_of_people_out_of_every_text(text: object) -> None:
    error = ValueError(str(text))
    record = record_of("ended: %s", text, detail=text, fields={"reason": text})
    record.exc_info = (ValueError, error, None)
    for formatter in (PlainFormatter(personal=False), JsonFormatter(personal=False)):
        assert not re.search(r"\d{5}|erika|123", formatter.format(record))
    assert re.search(r"\d{5}|erika|123", PlainFormatter().format(record))


def test_switch_leaves_ids_addresses_ports_and_figures() -> None:
    fields = {
        "session_id": "s.12345678", "call_id": "123456789@x", "peer": "192.168.100.200:50600", "pid": 1234567, "duration_s": 1234567.5,
        "detail": "udp [2001:db8::1]:5060 at 2026-11-29T10:08:24, 20261129/s.7849c673-1095-455b-9765-2118db01b063.json",
    }  # fmt: skip
    shown = fields_in(PlainFormatter(personal=False).format(record_of(**fields)))
    assert shown["detail"].endswith("s.7849c673-1095-455b-9765-2118db01b063.json")
    assert {key: shown[key] for key in fields if key != "detail"} == {key: str(value) for key, value in fields.items() if key != "detail"}


@pytest.mark.parametrize("key", ["caller", "callee", "digit", "text", "prompt", "number", "transcript"])
def test_personal_fields_are_left_out_by_the_switch(key: str) -> None:
    record = record_of(**{key: "+4930123456"}, fields={key: "+4930123456"}, rule="x")
    for formatter in (PlainFormatter(personal=False), JsonFormatter(personal=False)):
        assert "4930123456" not in formatter.format(record)
        assert "rule" in formatter.format(record)
    assert "4930123456" in PlainFormatter().format(record)


@given(st.text(max_size=50))
def test_record_of_a_child_process_arrives_whole(text: str) -> None:
    line = RecordFormatter().format(record_of("order refused", stream=3, reason=text))
    assert "\n" not in line
    record = read_record(line)
    assert record is not None
    assert (record.name, record.levelno, record.getMessage()) == ("active_call.sip", logging.WARNING, "order refused")
    assert fields_in(PlainFormatter().format(record)) == {"stream": "3"} | ({"reason": text} if text else {})


@pytest.mark.parametrize("line", ["plain words", "\x1e{", "\x1e[]", '\x1e{"name": 1}', "\x1e" + "[" * 5000])
def test_any_other_line_is_no_record(line: str) -> None:
    assert read_record(line) is None
