"""What a start does before it serves: arguments are judged, missing files written, mistakes told."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.base.errors import ActiveCallError, ConfigError
from active_call.server.commands.main import app
from active_call.server.config.loading import load_config, overrides_from_flags
from active_call.server.demo.showing import what_next
from active_call.server.setup.sip import refuse_taken_ports
from active_call.server.starter_files import prepare_start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_first_start_writes_everything_once(home: Path) -> None:
    config, written = prepare_start(None, {}, {})
    assert [str(path) for path in written] == ["active-call.toml", "certs/cert.pem", "certs/key.pem", "config/playbook/greeting.md"]
    assert config.udp_port == 5060
    assert (home / "certs" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert prepare_start(None, {}, {})[1] == []


@pytest.mark.parametrize(
    ("flags", "callee"),
    [
        ({"external_ip": "nonsense"}, None),
        ({"handler": {"type": "playbook", "default": "absent.md"}}, None),
        ({"http_addr": "x"}, None),
        ({"codecs": ["mp3"]}, None),
        ({}, "not a uri at all"),
    ],
)
def test_nothing_is_written_for_arguments_that_cannot_be_used(home: Path, flags: dict[str, object], callee: str | None) -> None:
    with pytest.raises(ActiveCallError):
        prepare_start(None, flags, {}, callee=callee)
    assert files(home) == []


@pytest.mark.parametrize("rule", ['default = "greeting.md"', '[[handler.rules]]\nplaybook = "greeting.md"'])
def test_starter_playbook_is_written_where_the_config_names_it_and_it_is_missing(home: Path, rule: str) -> None:
    (home / "active-call.toml").write_text(f'[handler]\ntype = "playbook"\n{rule}\n', encoding="utf-8")
    _, written = prepare_start(None, {}, {})
    assert [str(path) for path in written] == ["config/playbook/greeting.md"]


def test_starter_playbook_is_written_for_the_flag_too(home: Path) -> None:
    (home / "active-call.toml").write_text("", encoding="utf-8")
    _, written = prepare_start(None, overrides_from_flags(handler="greeting.md"), {})
    assert [str(path) for path in written] == ["config/playbook/greeting.md"]


def test_other_missing_playbook_is_a_mistake_and_nothing_is_written(home: Path) -> None:
    (home / "active-call.toml").write_text('[handler]\ntype = "playbook"\ndefault = "sales.md"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sales\.md"):
        prepare_start(None, {}, {})
    assert files(home) == ["active-call.toml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[handler]\ntype = 'webhook'\nurl = 'http://x/'\nhttp_addr = '1.2.3.4:1'", "belongs at the top of the file"),
        ("[recording]\nmax_calls = 3", "[[trunks]] or in [admission]"),
        ("[recording]\nfilename_patern = 'x'", "did you mean 'filename_pattern'"),
        ("voiceThreshold = 0.4", "belongs in [vad]"),
        ("[asr]\nhttp_token = 'x'", "belongs at the top of the file"),
        ("[vad]\nspeaker = 'x'", "belongs in [tts]"),
        ("[[trunks]]\nname = 't'\nudp_port = 1", "belongs at the top of the file"),
    ],
)
def test_key_below_the_wrong_table_is_told_where_it_belongs(home: Path, text: str, words: str) -> None:
    (home / "active-call.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(home / "active-call.toml", {}, {})
    assert words in str(caught.value)
    assert caught.value.line


@pytest.mark.parametrize(("written", "seconds"), [("8", 8), ('"8s"', 8), ('"500ms"', 0.5), ('"2m"', 120), ('"1h"', 3600), ("2.5", 2.5)])
def test_times_in_the_config_may_have_a_unit(home: Path, written: str, seconds: float) -> None:
    (home / "active-call.toml").write_text(f"accept_timeout = {written}\ngraceful_shutdown_timeout = {written}", encoding="utf-8")
    config = load_config(home / "active-call.toml", {}, {})
    assert (config.accept_timeout, config.graceful_shutdown_timeout) == (seconds, seconds)


def test_times_of_options_keep_their_units(home: Path) -> None:
    text = (
        '[vad]\nsilencePadding = "1s"\n[eou]\ntimeout = "0.7s"\n[recording]\nptime = "1s"\n[[trunks]]\nname = "t"\noptions_interval = "1m"'
    )
    (home / "active-call.toml").write_text(text, encoding="utf-8")
    config = load_config(home / "active-call.toml", {}, {})
    assert config.vad and config.vad.silence_padding == 1000
    assert config.eou and config.eou.timeout == 700
    assert config.recording.ptime == 1000
    assert config.trunks[0].options_interval == 60


@pytest.mark.parametrize("value", ['"soon"', '"8 parsecs"', '"-1s"', "0", "-3"])
def test_time_that_is_none_is_refused_with_its_key(home: Path, value: str) -> None:
    (home / "active-call.toml").write_text(f"accept_timeout = {value}", encoding="utf-8")
    with pytest.raises(ConfigError, match="accept_timeout"):
        load_config(home / "active-call.toml", {}, {})


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--version"], 0, "active-call "),
        (["serv"], 2, "serve"),
        (["playbook"], 2, "check"),
        (["playbook", "chek"], 2, "check"),
        (["playbook", "check", "absent.md"], 2, "absent.md"),
        (["bench", "nothing"], 2, "nothing"),
        (["bench", "--help"], 0, "media"),
        (["serve", "--conf", "absent.toml"], 2, "absent.toml"),
        (["call"], 2, "URI"),
    ],
)
def test_command_line_says_what_to_do(home: Path, arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert files(home) == []


@pytest.mark.parametrize("folder", ["config/playbook", "playbooks", "."])
def test_playbook_is_checked_by_the_name_that_the_server_knows(home: Path, folder: str) -> None:
    (home / folder).mkdir(parents=True, exist_ok=True)
    (home / folder / "mine.md").write_text("---\nllm: {provider: script}\ngreeting: Hello.\n---\n## *\nYes.\n")
    result = CliRunner().invoke(app, ["playbook", "check", "mine.md"])
    assert (result.exit_code, "mine.md: a playbook with 1 scene(s)" in result.output) == (0, True)


def test_playbook_that_is_nowhere_is_told_with_the_places(home: Path) -> None:
    result = CliRunner().invoke(app, ["playbook", "check", "mine.md"])
    assert result.exit_code == 2
    assert "mine.md: there is no such file, neither here nor in config/playbook, playbooks" in result.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[callrecord]\ntype = 's3'\nbucket = 'b'\n", "2: callrecord.type: 's3' is not supported yet"),
        (
            "[callrecord]\ntype = 'database'\nurl = 'mysql://u:stop_sending@h/x'\n",
            "3: callrecord.url: expected postgresql:// or sqlite:///",
        ),
        ("[callrecord]\ntype = 'local'\ndatabase = 'sqlite://'\n", "3: callrecord.database: a SQLite URL names a file"),
    ],
)
def test_database_that_cannot_be_used_is_told_with_its_line_before_anything_starts(home: Path, text: str, words: str) -> None:
    (home / "bad.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(home / "bad.toml")
    assert words in str(caught.value)
    assert "stop_sending" not in str(caught.value)


def test_demo_speaks_of_make_only_where_make_has_started_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "src" / "active_call").mkdir(parents=True)
    (home / "Makefile").touch()
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert "make" not in what_next()
    monkeypatch.setenv("MAKELEVEL", "1")
    assert "make serve" in what_next()


def test_port_that_is_taken_names_its_owner(home: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp_taken = f"addr = '127.0.0.1'\nudp_port = {udp.getsockname()[1]}\nhttp_addr = '127.0.0.1:0'\n"
        (home / "active-call.toml").write_text(udp_taken, encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "active_call.server.cli"], cwd=home, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stderr
        assert "udp_port: cannot listen on" in done.stderr
        assert "(pid " in done.stderr
        assert not (home / "config").exists()  # nothing was started yet: no media process, no engine, no database
        tcp_taken = load_config(None, {"addr": "127.0.0.1", "udp_port": 0, "http_addr": f"127.0.0.1:{tcp.getsockname()[1]}"}, {})
        with pytest.raises(ConfigError, match=r"http_addr: cannot listen on .*\(pid "):
            refuse_taken_ports(tcp_taken)
