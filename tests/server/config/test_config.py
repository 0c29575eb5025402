"""The config file as users write it: the published guide, the example, defaults, every kind of mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from active_call.base.errors import ConfigError, PlaybookError
from active_call.server.certificate import write_development_certificate
from active_call.server.config.config import Config
from active_call.server.config.loading import load_config, overrides_from_flags
from active_call.server.config.sections import HttpCallRecord, LocalCallRecord, PlaybookHandler, PythonHandler, WebhookHandler
from active_call.server.playbook_files import find_playbook
from active_call.server.setup.trunks import accounts

EXAMPLE = Path(__file__).parents[3] / "src/active_call/server/starter/active-call.toml"

GUIDE = """\
# SIP server bind address
addr = "0.0.0.0"
# Public UDP port (fallback / plain SIP)
udp_port = 5060
# TLS port for SIPS — required for Twilio production
tls_port = 5061
tls_cert_file = "./certs/cert.pem"
tls_key_file = "./certs/key.pem"
# Enable SRTP for encrypted media (recommended when tls_port is active)
enable_srtp = true
# Public IP for SDP/media negotiation
external_ip = "YOUR_PUBLIC_IP"
# RTP port range
rtp_start_port = 12000
rtp_end_port = 42000
# HTTP API port
http_addr = "0.0.0.0:8080"
[[sip_registrations]]
name = "twilio"
username = "active-call" # Credential List username
password = "strongpassword" # Credential List password
server = "yourdomain.pstn.twilio.com"
realm = "yourdomain.pstn.twilio.com"
"""
GUIDE_PLAYBOOK = '[handler]\ntype = "playbook"\ndefault = "greeting.md"\n'
GUIDE_WEBHOOK = '[handler]\ntype = "webhook"\nurl = "http://localhost:8090/twilio-inbound"\nmethod = "POST"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a playbook."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "greeting.md").write_text("Hello", encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    write_development_certificate(folder / "cert.pem", folder / "key.pem", ["127.0.0.1"])
    return folder / "cert.pem", folder / "key.pem"


def load(home: Path, text: str, **environment: str) -> Config:
    path = home / "active-call.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {}, environment)


def refuse(home: Path, text: str, **environment: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(home, text, **environment)
    return caught.value


@pytest.mark.parametrize("handler", [GUIDE_PLAYBOOK, GUIDE_WEBHOOK])
def test_guide_with_public_address_loads_as_printed(home: Path, certificate: tuple[Path, Path], handler: str) -> None:
    (home / "certs").mkdir()
    for source in certificate:
        (home / "certs" / source.name).write_bytes(source.read_bytes())
    config = load(home, GUIDE.replace("YOUR_PUBLIC_IP", "203.0.113.10") + handler)
    assert (config.udp_port, config.tls_port, config.enable_srtp) == (5060, 5061, True)
    assert (config.http_host, config.http_port, config.external_ip) == ("0.0.0.0", 8080, "203.0.113.10")
    (account,) = config.registrations
    assert (account.username, account.password, account.server) == ("active-call", "strongpassword", "yourdomain.pstn.twilio.com")
    assert accounts(config)[0].registers
    if "webhook" in handler:
        assert isinstance(config.handler, WebhookHandler)
        assert config.handler.all_urls == ("http://localhost:8090/twilio-inbound",)
    else:
        assert isinstance(config.handler, PlaybookHandler)
        assert find_playbook("greeting.md", config) == Path("playbooks/greeting.md")


def test_guide_with_its_placeholder_loads_and_says_so(home: Path) -> None:
    write_development_certificate(home / "certs" / "cert.pem", home / "certs" / "key.pem", ["127.0.0.1"])
    config = load(home, GUIDE + GUIDE_PLAYBOOK)
    assert config.external_ip is None
    assert any("placeholder" in warning for warning in config.warnings)


def test_example_file_loads(home: Path) -> None:
    write_development_certificate(home / "certs" / "cert.pem", home / "certs" / "key.pem", ["127.0.0.1"])
    config = load_config(EXAMPLE, {}, {})
    assert (config.udp_port, config.tls_port, config.http_addr) == (5060, 5061, "127.0.0.1:8080")
    assert isinstance(config.handler, PlaybookHandler)
    assert isinstance(config.callrecord, LocalCallRecord)


def test_example_file_commented_lines_are_valid_too(home: Path, certificate: tuple[Path, Path]) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    before, _, after = text.partition("# Instead of the above")
    rest = after[after.index("# -- Carriers") :]
    enabled = re.sub(r"(?m)^# (?=\[\[|[a-z_]+ = )", "", before + rest)
    assert enabled.count("# ") < text.count("# ")
    enabled = enabled.replace("./certs/cert.pem", str(certificate[0])).replace("./certs/key.pem", str(certificate[1]))
    (home / "playbooks" / "sales.md").write_text("Buy", encoding="utf-8")
    config = load(home, enabled, TRUNK_PASSWORD="p", HTTP_TOKEN="t")
    assert config.tls_port == 5061
    assert "54.172.60.0/30" in config.trunks[0].resolved.allow
    assert not config.registrations[0].register_
    assert config.http_token == "t"
    assert isinstance(config.handler, PlaybookHandler)
    assert config.handler.rules[0].callee == r"^sip:\+1800"


def test_no_file_gives_documented_defaults() -> None:
    config = load_config(None, {}, {})
    assert (config.addr, config.udp_port, config.tls_port, config.http_addr) == ("0.0.0.0", 25060, None, "0.0.0.0:8080")
    assert (config.rtp_start_port, config.rtp_end_port, config.rtp_address) == (12000, 42000, "0.0.0.0")
    assert config.codecs == ("pcmu", "pcma", "g722", "opus", "telephone_event")
    assert (config.accept_timeout, config.graceful_shutdown_timeout) == (60.0, 30.0)
    assert (config.enable_srtp, config.enable_rtp_latching, config.enable_options_response) == (False, True, True)
    assert config.media_cache_path == "./config/mediacache"


def test_every_documented_group_is_accepted_and_kept(home: Path) -> None:
    config = load(
        home,
        """
        auto_learn_public_address = true
        accept_timeout = "50s"
        media_workers = 3
        log_level = "DEBUG"
        peers = ["10.0.0.2:25060"]
        rewrites = [{match = "^0", rewrite = "+49"}]
        [[ice_servers]]
        urls = "stun:stun.example.com:3478"
        [[register_users]]
        server = "pbx.example.com:5070"
        username = "1001"
        [register_users.credential]
        username = "1001-login"
        password = "x"
        realm = "pbx"
        [[trunk_rules]]
        rule.match.to.user = "^00"
        rule.rewrite.contact.host = "example.com"
        [[trunks]]
        name = "twilio"
        profile = "twilio"
        allow = ["54.172.60.0/30"]
        srtp = "required"
        transport = "tls"
        codecs = ["PCMU"]
        max_calls = 10
        max_cps = 1.5
        [callrecord]
        type = "http"
        url = "https://example.com/cdr"
        headers = [["X-Key", "1"]]
        [recording]
        enabled = true
        format = "wav"
        [vad]
        speechPadding = 300
        silence_padding = 90
        [asr]
        provider = "openai"
        apiKey = "k"
        [cluster]
        url = "redis://localhost"
        """,
    )
    assert config.accept_timeout == 50.0
    assert config.log_level == "debug"
    (account,) = config.registrations
    assert (account.username, account.server, account.realm) == ("1001-login", "pbx.example.com:5070", "pbx")
    assert config.trunk_rules[0].rule.match.to.user == "^00"
    assert config.trunks[0].codecs == ("pcmu",)
    assert isinstance(config.callrecord, HttpCallRecord)
    assert config.callrecord.headers == {"X-Key": "1"}
    assert config.vad is not None
    assert (config.vad.speech_padding, config.vad.silence_padding) == (300, 90)
    assert config.asr is not None
    assert config.asr.secret_key == "k"
    assert config.cluster == {"url": "redis://localhost"}


@pytest.mark.parametrize(
    ("text", "key", "line", "words"),
    [
        ('udp_prot = 5060\naddr = "0.0.0.0"', "udp_prot", 1, "did you mean 'udp_port'"),
        ('addr = "0.0.0.0"\n[sip_handler]\ntype = "playbook"', "sip_handler", 2, "called 'handler'"),
        ('[handler]\ntype = "playbook"\ndefault = "greeting.md"\ndefualt = "x"', "handler.defualt", 4, "did you mean 'default'"),
        ('[[sip_registrations]]\nusername = "a"\nserver = "s"\n\n[[sip_registrations]]\nusername = "b"\nserver = "t"\nexpire = 9',
         "sip_registrations[1].expire", 8, "did you mean 'expires'"),
        ('udp_port = "abc"', "udp_port", 1, "a whole number, found 'abc'"),
        ("\nudp_port = 70000", "udp_port", 2, "at most 65535"),
        ('enable_srtp = "perhaps"', "enable_srtp", 1, "true or false"),
        ('enable_srtp = "yes"', "enable_srtp", 1, "expected true or false, found 'yes'"),
        ("enable_srtp = 1", "enable_srtp", 1, "expected true or false, found 1"),
        ('denoise = "on"', "denoise", 1, "expected true or false, found 'on'"),
        ('[recording]\nenabled = "1"', "recording.enabled", 2, "expected true or false, found '1'"),
        ("udp_port = true", "udp_port", 1, "expected a number, found true"),
        ("graceful_shutdown_timeout = true", "graceful_shutdown_timeout", 1, "expected a number, found true"),
        ('[callrecord]\nroot = "cdr"\nurl = "http://h/"', "callrecord.type", 1, "is missing"),
        ('[callrecord]\nrot = "cdr"', "callrecord.rot", 2, "did you mean 'root'"),
        ("useragent = 5", "useragent", 1, "text in quotes"),
        ('log_level = "loud"', "log_level", 1, "'info'"),
        ('codecs = ["pcmu", "speex"]', "codecs", 1, "found 'speex'"),
        ('[handler]\ntype = "playbok"', "handler.type", 2, "'playbook'"),
        ('\n[handler]\ndefault = "greeting.md"', "handler.type", 2, "expected 'playbook', 'webhook' or 'python'"),
        ('[handler]\ntype = "playbook"', "handler", 1, "needs `default`"),
        ('[handler]\ntype = "playbook"\n[[handler.rules]]\ncaller = "a("\nplaybook = "greeting.md"',
         "handler.rules[0].caller", 4, "regular expression"),
        ('[handler]\ntype = "webhook"', "handler", 1, "needs `url`"),
        ('[handler]\ntype = "webhook"\nurl = "localhost:80"', "handler.url", 3, "http://"),
        ('[handler]\ntype = "python"\ntarget = "no function"', "handler.target", 3, "module:function"),
        ('[handler]\ntype = "python"\ntarget = "no_such_module_here:f"', "handler", 1, "no Python module 'no_such_module_here'"),
        ('[handler]\ntype = "playbook"\ndefault = "absent.md"', "handler.default", 3, "no playbook 'absent.md'"),
        ('external_ip = "sip.example.com"', "external_ip", 1, "expected an IP address"),
        ('external_ip = "0.0.0.0"', "external_ip", 1, "peers reach"),
        ('http_addr = "8080"', "http_addr", 1, "host:port"),
        ("rtp_start_port = 12001", "rtp_start_port", 1, "even"),
        ("rtp_start_port = 40000\nrtp_end_port = 30000", "rtp_end_port", 2, "reversed"),
        ("rtp_start_port = 40000\nrtp_end_port = 40000", "rtp_end_port", 2, "too small"),
        ('udp_port = 8080\nhttp_addr = "127.0.0.1:8080"', "http_addr", 2, "already used"),
        ("udp_port = 5061\ntls_port = 5061", "tls_port", 2, "already used"),
        ("udp_port = 5066\nws_port = 5066", "ws_port", 2, "already used"),
        ("ws_port = 443\nwss_port = 443", "wss_port", 2, "already used"),
        ('stun_servers = ["stun.example:3478", "not a place"]', "stun_servers[1]", 1, "expected host or host:port"),
        ("tls_port = 5061", "tls_port", 1, "tls_cert_file is missing"),
        ('tls_port = 5061\ntls_cert_file = "no.pem"\ntls_key_file = "no.key"', "tls_cert_file", 2, "there is no file no.pem"),
        ('[callrecord]\ntype = "ftp"', "callrecord.type", 2, "'local'"),
        ('[recording]\nfilename_pattern = "{name}"', "recording.filename_pattern", 2, "found {name}"),
        ('[vad]\nspeechPading = 3', "vad.speechPading", 2, "speechPadding"),
        ('[vad]\nratio = "much"', "vad.ratio", 2, "float"),
        ('[[trunks]]\nname = "t"\nallow = ["10.0.0.0/8", "nowhere"]', "trunks[0].allow[1]", 3, "found 'nowhere'"),
        ('[[trunk_rules]]\nrule.match.from.usr = "x"', "trunk_rules[0].rule.match.from.usr", 2, "did you mean 'user'"),
    ],
)  # fmt: skip
def test_mistake_names_line_key_and_expectation(home: Path, text: str, key: str, line: int, words: str) -> None:
    error = refuse(home, text)
    assert (error.key, error.line) == (key, line)
    assert words in error.reason
    assert str(error).startswith(f"{home / 'active-call.toml'}:{line}: {key}: ")


def test_several_mistakes_first_in_file_is_reported_with_the_others_named(home: Path) -> None:
    error = refuse(home, 'zzz = 1\nudp_port = "x"\ntls_port = "y"')
    assert error.key == "zzz"
    assert "tls_port, udp_port" in error.reason


def test_syntax_error_names_line_and_text(home: Path) -> None:
    error = refuse(home, 'addr = "0.0.0.0"\nhttp_addr = "0.0.0.0:8080"For outbound calls')
    assert error.line == 2
    assert "not valid TOML" in error.reason
    assert "For outbound" in error.reason


def test_unclosed_text_at_end_of_file_still_names_a_line(home: Path) -> None:
    assert refuse(home, 'addr = "0.0.0.0').line == 1


def test_missing_file_is_a_config_error(home: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(home / "absent.toml", {}, {})


def test_wrong_secret_is_not_repeated_in_the_error(home: Path) -> None:
    error = refuse(home, '[[sip_registrations]]\nusername = "a"\nserver = "s"\npassword = 123456')
    assert error.key == "sip_registrations[0].password"
    assert "123456" not in str(error)


def test_secrets_do_not_appear_in_the_configs_repr(home: Path) -> None:
    config = load(
        home, 'http_token = "hush1"\n[[sip_registrations]]\nusername = "a"\nserver = "s"\npassword = "hush2"\n[asr]\nsecretKey = "hush3"'
    )
    assert "stop_sending" not in repr(config)


def test_certificate_and_foreign_key_are_refused(home: Path, certificate: tuple[Path, Path]) -> None:
    write_development_certificate(home / "other.pem", home / "other.key", ["a.example"])
    error = refuse(home, f'tls_port = 5061\ntls_cert_file = "{certificate[0]}"\ntls_key_file = "{home / "other.key"}"')
    assert error.key == "tls_key_file"
    assert "is not the key of" in error.reason


def test_certificate_that_is_not_pem_is_refused(home: Path, certificate: tuple[Path, Path]) -> None:
    (home / "cert.pem").write_text("hello", encoding="utf-8")
    error = refuse(home, f'tls_port = 5061\ntls_cert_file = "cert.pem"\ntls_key_file = "{certificate[1]}"')
    assert error.key == "tls_cert_file"
    assert "PEM" in error.reason


def test_unset_variable_is_named_with_its_key_and_line(home: Path) -> None:
    error = refuse(home, 'addr = "0.0.0.0"\n[[sip_registrations]]\nusername = "a"\nserver = "s"\npassword = "${TRUNK_PASSWORD}"')
    assert (error.key, error.line) == ("sip_registrations[0].password", 5)
    assert "TRUNK_PASSWORD is not set" in error.reason


def test_variables_environment_wins_over_dotenv_and_dotenv_over_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("B_NAME", raising=False)
    (home / ".env").write_text("A_NAME=from-dotenv\nB_NAME=from-dotenv\n", encoding="utf-8")
    config = load(
        home, 'useragent = "${A_NAME}/${B_NAME}/${C_NAME:-default}/${D_NAME:-}"\nudp_port = "${PORT}"', A_NAME="from-env", PORT="5070"
    )
    assert config.useragent == "from-env/from-dotenv/default/"
    assert config.udp_port == 5070
    assert "B_NAME" not in os.environ


def test_overrides_replace_keys_of_the_file_before_they_are_judged(home: Path) -> None:
    path = home / "active-call.toml"
    path.write_text(
        'external_ip = "YOUR_PUBLIC_IP"\nudp_port = 5060\nhttp_token = "${UNSET}"\n[handler]\ntype = "nothing"', encoding="utf-8"
    )
    flags = overrides_from_flags(
        http="127.0.0.1:9090", sip="[::1]:6060", handler="http://x/y", external_ip="203.0.113.5", codecs="pcma, pcmu"
    )
    config = load_config(path, {**flags, "http_token": "t", "log_level": None}, {})
    assert (config.http_port, config.addr, config.udp_port, config.external_ip) == (9090, "::1", 6060, "203.0.113.5")
    assert config.codecs == ("pcma", "pcmu")
    assert isinstance(config.handler, WebhookHandler)


def test_mistake_in_an_override_has_no_line_of_the_file(home: Path) -> None:
    path = home / "active-call.toml"
    path.write_text("udp_port = 5060", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"udp_port": "x"}, {})
    assert (caught.value.key, caught.value.file, caught.value.line) == ("udp_port", "", 0)


@pytest.mark.parametrize(("text", "kind"), [("greeting.md", PlaybookHandler), ("json:loads", PythonHandler)])
def test_handler_flag_kinds(home: Path, text: str, kind: type) -> None:
    assert isinstance(load_config(None, overrides_from_flags(handler=text), {}).handler, kind)


@pytest.mark.parametrize("flags", [{"sip": "5060"}, {"handler": "nonsense"}])
def test_flag_that_does_not_fit_is_named(flags: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(flags))}: expected"):
        overrides_from_flags(**flags)


@pytest.mark.parametrize("name", ["../secret.md", "/etc/passwd", "a/../../secret.md", "..\\secret.md", "", "greeting.txt", "x\0.md"])
def test_playbook_name_that_leaves_the_folder_is_refused(home: Path, name: str) -> None:
    (home.parent / "secret.md").write_text("s", encoding="utf-8")
    with pytest.raises(PlaybookError):
        find_playbook(name, load_config(None, {}, {}))


def test_playbook_link_that_leaves_the_folder_is_refused(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.md"
    secret.write_text("s", encoding="utf-8")
    (home / "playbooks" / "link.md").symlink_to(secret)
    with pytest.raises(PlaybookError, match="leads out"):
        find_playbook("link.md", load_config(None, {}, {}))


def test_playbook_folders_are_searched_in_order(home: Path) -> None:
    config = load_config(None, {}, {})
    assert find_playbook("greeting.md", config) == Path("playbooks/greeting.md")
    (home / "config" / "playbook").mkdir(parents=True)
    (home / "config" / "playbook" / "greeting.md").write_text("Hi", encoding="utf-8")
    assert find_playbook("greeting.md", config) == Path("config/playbook/greeting.md")


def test_configured_playbook_may_lie_anywhere(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mine = tmp_path_factory.mktemp("mine") / "mine.md"
    mine.write_text("m", encoding="utf-8")
    config = load_config(None, overrides_from_flags(handler=str(mine)), {})
    assert find_playbook(str(mine), config) == mine


def test_config_is_frozen() -> None:
    config = load_config(None, {}, {})
    with pytest.raises(Exception, match="frozen"):
        config.udp_port = 1  # type: ignore[misc]


def test_true_and_false_may_come_from_the_environment(home: Path) -> None:
    (home / "active-call.toml").write_text('enable_srtp = "${SRTP}"', encoding="utf-8")
    assert load_config(home / "active-call.toml", {}, {"SRTP": "true"}).enable_srtp is True
    assert load_config(home / "active-call.toml", {}, {"SRTP": "False"}).enable_srtp is False


def test_records_without_a_type_are_local(home: Path) -> None:
    config = load(home, '[callrecord]\nroot = "cdr"\ndatabase = "sqlite:///cdr/r.db"')
    assert config.callrecord == LocalCallRecord(root="cdr", database="sqlite:///cdr/r.db")
    assert load(home, "[callrecord]").callrecord == LocalCallRecord()


def test_config_that_cannot_be_read_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'addr = "0.0.0.0"\n# Gr\xfc\xdfe')
    with pytest.raises(ConfigError, match=r"latin\.toml: cannot be read: it is not UTF-8 \(line 2: byte 0xfc\); save it as UTF-8 text$"):
        load_config(tmp_path / "latin.toml", {}, {})
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.toml: cannot be read: is a directory$"):
        load_config(tmp_path / "folder.toml", {}, {})
