"""The log of a whole server process: what is written to standard error by anybody becomes records, and nobody waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from active_call.base.errors import ConfigError
from active_call.server.logs import LogOutput, LogSettings

PROGRAM = """
import ctypes, logging, os, subprocess, sys
from active_call.server.logs import LogOutput, LogSettings
output = LogOutput(LogSettings(file={file!r}, as_json={as_json}, personal={personal}))
logging.getLogger("active_call.sip").warning("refused", extra={{"rule": "unlisted", "caller": "+4930123"}})
os.write(2, b'12:00:00.000 INFO    sip: refused  trunk=twilio\\n\\x1b[2Jno end')
os.write(2, b' yet\\n\\xff\\n')
child = "from active_call.base.child_log import log_as_child; import logging; log_as_child();"
child += "logging.getLogger('active_call.media').error('order refused', extra={{'stream': 7, 'callee': '+4930123'}})"
subprocess.run([sys.executable, "-c", child], check=True)
subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
output.close()
sys.stderr.write("standard error is back\\n")
"""


def run(tmp_path: Path, *, as_json: bool = False, personal: bool = True) -> tuple[str, str]:
    file = str(tmp_path / "log")
    program = PROGRAM.format(file=file, as_json=as_json, personal=personal)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return Path(file).read_text(encoding="utf-8"), done.stderr


LIBRARIES = """
import httpx, httpx2
from websockets.client import ClientProtocol
from websockets.uri import parse_uri
from active_call.server.logs import LogOutput, LogSettings
output = LogOutput(LogSettings(level="debug", file={file!r}))
for library in (httpx, httpx2):
    transport = library.MockTransport(lambda request, library=library: library.Response(200))
    library.Client(transport=transport).get("https://mcp.example/?token=s3cret", headers={{"Authorization": "Bearer s3cret"}})
protocol = ClientProtocol(parse_uri("wss://vendor.example/?api_key=s3cret"))
request = protocol.connect()
request.headers["Authorization"] = "Bearer s3cret"
protocol.send_request(request)
import logging
logging.getLogger("active_call.sip").debug("our own lines are there")
output.close()
"""


def test_keys_in_urls_and_headers_of_libraries_are_not_logged_at_debug_level(tmp_path: Path) -> None:
    file = tmp_path / "log"
    subprocess.run([sys.executable, "-c", LIBRARIES.format(file=str(file))], timeout=60, check=True)
    log = file.read_text(encoding="utf-8")
    assert "our own lines are there" in log and "s3cret" not in log


FLOOD = """
import logging, os, subprocess, sys, time
from active_call.server.logs import LogOutput, LogSettings
output = LogOutput(LogSettings(file={file!r}))
for _ in range(100):
    os.write(2, b"something odd\\n" * 1000)
child = "from active_call.base.child_log import log_as_child; import logging; log_as_child();"
child += "logging.getLogger('active_call.media').error('order refused')"
subprocess.run([sys.executable, "-c", child], check=True)
output.close()
"""


def test_flood_on_standard_error_is_limited_and_hides_no_record_of_a_child(tmp_path: Path) -> None:
    file = tmp_path / "log"
    subprocess.run([sys.executable, "-c", FLOOD.format(file=str(file))], timeout=60, check=True)
    lines = file.read_text(encoding="utf-8").splitlines()
    n_stray = sum("something odd" in line for line in lines)
    n_left_out = sum(int(line.rpartition("n_lines=")[2]) for line in lines if "lines on standard error were left out" in line)
    assert n_stray < 10_000
    assert n_stray + n_left_out == 100_000
    assert any("media: order refused" in line for line in lines)


def test_everything_on_standard_error_becomes_records(tmp_path: Path) -> None:
    log, stderr = run(tmp_path)
    assert stderr == "standard error is back\n"
    lines = log.splitlines()
    assert "\x1b" not in log
    assert any(line.endswith("sip: refused  rule=unlisted caller=+4930123") for line in lines)
    assert any('stderr: written to standard error  line="12:00:00.000 INFO    sip: refused  trunk=twilio"' in line for line in lines)
    assert any('line="\\u001b[2Jno end yet"' in line for line in lines)
    assert any("ERROR   media: order refused  stream=7 callee=+4930123" in line for line in lines)
    assert any('line="from a child"' in line for line in lines)


def test_json_and_the_personal_switch_hold_for_child_processes_too(tmp_path: Path) -> None:
    log, _ = run(tmp_path, as_json=True, personal=False)
    records = [json.loads(line) for line in log.splitlines()]
    assert {record["message"] for record in records} == {"refused", "written to standard error", "order refused"}
    assert "4930123" not in log


@pytest.mark.parametrize("file", ["absent/log", "."])
def test_log_file_that_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="log_file"):
        LogOutput(LogSettings(file=file))


def test_health_counts_the_lines_that_were_dropped(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # nobody reads: the writer's thread waits for ever
    program = (
        "import logging, os\n"
        "from active_call.server.logs import LogOutput, LogSettings, log_health\n"
        f"output = LogOutput(LogSettings(file={str(tmp_path / 'log')!r}))\n"
        "print(log_health())\n"
        "[logging.getLogger('active_call.sip').warning('refused') for _ in range(10_500)]\n"
        "print(log_health() == {'log': {'dropped_lines': output.n_dropped}}, output.n_dropped > 300, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["{'log': {'dropped_lines': 0}}", "True True"]
