"""The doctor: each thing that may be wrong, said in a line; on ports and names that exist only here."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from active_call.base.errors import TransportError
from active_call.server.commands.main import app
from active_call.server.commands.playbook import playbook_app
from active_call.server.config.loading import load_config
from active_call.server.doctor import checks as doctor_checks
from active_call.server.doctor.checks import Finding, findings
from active_call.server.listening import holder_of, why_not_free
from active_call.sip.events import Address, LookUp

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hi.\n---\n## hello\nYes.\n"
QUIET = 'http_addr = "127.0.0.1:0"\nudp_port = 0\naddr = "127.0.0.1"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "main.md").write_text(PLAYBOOK, encoding="utf-8")
    return tmp_path


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Address]]:
    """What DNS knows; nothing else is asked."""
    known: dict[str, list[Address]] = {}

    class Names:
        async def resolve(self, look_up: LookUp) -> list[Address]:
            if look_up.host not in known:
                raise TransportError("the name cannot be resolved", where=look_up.host)
            return known[look_up.host]

    monkeypatch.setattr(doctor_checks, "Resolver", Names)
    return known


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def examine(home: Path, text: str) -> list[Finding]:
    path = home / "active-call.toml"
    path.write_text(QUIET + text, encoding="utf-8")
    config = load_config(path, {}, {})

    async def gather() -> list[Finding]:
        return [finding async for finding in findings(config, {})]

    return asyncio.run(gather())


def told(found: list[Finding], check: str) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in found if finding.check == check]


def write_certificate(folder: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, days: int) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sip.example.com")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sip.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)


TLS = 'tls_port = 0\ntls_cert_file = "cert.pem"\ntls_key_file = "key.pem"\n'
HANDLER = '[handler]\ntype = "playbook"\ndefault = "main.md"\n'


def test_machine_that_is_in_order_has_nothing_that_fails(home: Path, names: dict[str, list[Address]]) -> None:
    names["sip.telnyx.com"] = [Address("192.76.120.10", 5060)]
    found = examine(home, HANDLER + '[[trunks]]\nname = "t"\nprofile = "telnyx"\nserver = "sip.telnyx.com"\n')
    assert [finding for finding in found if finding.level == "fail"] == []
    assert ("ok", "trunk t: sip.telnyx.com is 192.76.120.10") in told(found, "names")
    assert any("only these may call in: t" in text for _, text in told(found, "callers"))
    engines = "asr: moonshine (installed, English; no key), tts: piper joe (installed, English; no key; then espeak), no language model"
    assert ("ok", f"main.md: {engines}") in told(found, "engines")


def test_port_that_is_taken_is_told_with_who_has_it(home: Path, names: dict[str, list[Address]], busy_port: int) -> None:
    path = home / "active-call.toml"
    path.write_text(f'addr = "127.0.0.1"\nudp_port = {busy_port}\nhttp_addr = "127.0.0.1:0"\n{HANDLER}', encoding="utf-8")
    config = load_config(path, {}, {})
    (udp, tcp, _) = list(doctor_checks._ports(config, {}))
    assert udp.level == "ok"
    assert tcp.level in ("fail", "warn")  # the test's own process may look like ours
    assert "already in use, by" in tcp.text and "(pid " in tcp.text


def test_free_port_is_free_and_has_no_holder(busy_port: int) -> None:
    assert why_not_free("tcp", "127.0.0.1", 0) == ""
    assert holder_of("tcp", busy_port)
    assert holder_of("udp", busy_port) == ""


@pytest.mark.parametrize(
    ("days", "level", "words"), [(200, "ok", "good for 200 days"), (10, "warn", "expires in 10 days"), (-3, "fail", "has expired")]
)
def test_certificate_is_told_with_its_names_and_its_days(
    home: Path, names: dict[str, list[Address]], days: int, level: str, words: str
) -> None:
    write_certificate(home, rsa.generate_private_key(public_exponent=65537, key_size=2048), days=days)
    found = told(examine(home, TLS + HANDLER), "certificate")
    assert [entry[0] for entry in found] == [level]
    assert words in found[0][1] and "sip.example.com" in found[0][1]


def test_certificate_with_a_key_that_twilio_cannot_use_is_told(home: Path, names: dict[str, list[Address]]) -> None:
    write_certificate(home, ec.generate_private_key(ec.SECP256R1()), days=200)
    assert any("not RSA" in text for level, text in told(examine(home, TLS + HANDLER), "certificate") if level == "warn")


def test_self_signed_certificate_is_told(home: Path, names: dict[str, list[Address]]) -> None:
    from active_call.server.certificate import write_development_certificate

    write_development_certificate(home / "cert.pem", home / "key.pem", ["127.0.0.1"])
    assert any("self-signed" in text for level, text in told(examine(home, TLS + HANDLER), "certificate") if level == "warn")


@pytest.mark.parametrize(
    ("text", "check", "level", "words"),
    [
        ('external_ip = "10.1.2.3"\n' + HANDLER, "address", "warn", "not a public address"),
        ('external_ip = "8.8.4.4"\n' + HANDLER, "address", "ok", "forward SIP and RTP ports"),
        (HANDLER, "address", "warn", "set external_ip"),
        ('external_ip = "auto"\n' + HANDLER, "address", "ok", "by STUN"),
        ("ws_port = 0\n" + HANDLER, "ports", "ok", "SIP ws 127.0.0.1:0 is free"),
        ('external_ip = "8.8.4.4"\n' + HANDLER, "callers", "warn", "anybody may call"),
        (
            HANDLER + '[[trunks]]\nname = "t"\nprofile = "twilio"\n[[trunks]]\nname = "pbx"\nserver = "pbx.example"\n',
            "callers",
            "warn",
            "pbx has no ranges",
        ),
        ("rtp_start_port = 20000\nrtp_end_port = 20009\n" + HANDLER, "rtp", "warn", "room for 5 calls"),
        ("", "playbooks", "warn", "nobody takes inbound calls"),
        (HANDLER + '[asr]\nprovider = "openai"\n', "engines", "fail", "speech recognition"),
        (HANDLER + '[[sip_registrations]]\nname = "pbx"\nusername = "u"\nserver = "absent.example"\n', "names", "fail", "registrar of pbx"),
        ('[callrecord]\ntype = "local"\nroot = "here/cdr"\n' + HANDLER, "files", "ok", "records are written to here/cdr"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(
    home: Path, names: dict[str, list[Address]], text: str, check: str, level: str, words: str
) -> None:
    found = told(examine(home, text), check)
    assert any(entry[0] == level and words in entry[1] for entry in found), found


def test_playbook_that_does_not_parse_fails_where_it_is_used_and_warns_elsewhere(home: Path, names: dict[str, list[Address]]) -> None:
    broken = "---\ninterruption: {strategy: vat}\n---\nHi"
    (home / "playbooks" / "other.md").write_text(broken, encoding="utf-8")
    assert any(level == "warn" and "other.md:2: " in text for level, text in told(examine(home, HANDLER), "playbooks"))
    (home / "playbooks" / "main.md").write_text(broken, encoding="utf-8")
    assert any(level == "fail" and "main.md:2" in text for level, text in told(examine(home, HANDLER), "playbooks"))


@pytest.mark.parametrize(("text", "code"), [(HANDLER, 0), (HANDLER + '[asr]\nprovider = "openai"\n', 1), ("udp_prot = 1", 2)])
def test_command_line_prints_a_line_a_check_and_tells_by_its_exit_code(
    home: Path, names: dict[str, list[Address]], text: str, code: int
) -> None:
    (home / "active-call.toml").write_text(QUIET + text, encoding="utf-8")
    result = CliRunner().invoke(app, ["doctor"], env={"OPENAI_API_KEY": None})
    assert result.exit_code == code, result.output
    assert ("ok    config" in result.output) is (code != 2)
    as_json = CliRunner().invoke(app, ["doctor", "--json"], env={"OPENAI_API_KEY": None})
    body = json.loads(as_json.output)
    assert body["ok"] is (code == 0) if code != 2 else "udp_prot" in body["error"]


def test_playbook_that_can_be_used_and_is_doubtful_is_told(home: Path, names: dict[str, list[Address]]) -> None:
    (home / "playbooks" / "main.md").write_text("---\nllm: {provider: script}\ngreting: Hi\n---\n## a\n<hang-up/>", encoding="utf-8")
    found = told(examine(home, HANDLER), "playbooks")
    assert any(level == "fail" and "main.md:3: unknown key 'greting'" in text for level, text in found), found
    assert any(level == "fail" and "main.md:6: <hang-up> is not a tag" in text for level, text in found), found
    assert not any(level == "ok" and "1 playbook(s)" in text for level, text in found), found


def test_every_mistake_of_a_playbook_is_told_as_playbook_check_tells_it(home: Path, names: dict[str, list[Address]]) -> None:
    text = "---\nllm: {provider: script}\ninterruption: {strategy: vat}\n---\n## a\n<hang-up/>\n{{ broken"
    (home / "playbooks" / "main.md").write_text(text, encoding="utf-8")
    (home / "playbooks" / "other.md").write_text(text, encoding="utf-8")
    checked = CliRunner().invoke(playbook_app, ["check", "--json", "playbooks/main.md"])
    mistakes = [f"main.md:{each['line']}: {each['text']}" for each in json.loads(checked.output)[0]["findings"] if each["level"] == "error"]
    assert len(mistakes) >= 3
    found = told(examine(home, HANDLER), "playbooks")
    for mistake in mistakes:
        assert any(level == "fail" and mistake in words for level, words in found), (mistake, found)
        assert any(level == "warn" and mistake.replace("main.md", "other.md") in words for level, words in found), (mistake, found)


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ('[callrecord]\ntype = "local"\nroot = "main.txt/cdr"\n', "records"),
        ('[recording]\nenabled = true\npath = "main.txt"\n', "recordings"),
        ('media_cache_path = "/proc/here"\n', "sounds"),
        ('log_file = "absent/x.log"\n', "log_file: there is no folder"),
        ('log_file = "main.txt/x.log"\n', "log_file: there is no folder"),
    ],
)
def test_folder_that_cannot_be_written_fails(home: Path, names: dict[str, list[Address]], extra: str, what: str) -> None:
    (home / "main.txt").write_text("a file", encoding="utf-8")
    found = told(examine(home, (HANDLER + extra) if extra.startswith("[") else (extra + HANDLER)), "files")
    assert any(level == "fail" and text.startswith(what) for level, text in found), found


@pytest.mark.parametrize(
    ("resolves", "level"),
    [("", "fail"), ("8.8.4.4", "ok"), ("8.8.8.8", "fail")],
)
def test_certificate_of_another_name_fails(home: Path, names: dict[str, list[Address]], resolves: str, level: str) -> None:
    write_certificate(home, rsa.generate_private_key(public_exponent=65537, key_size=2048), days=200)
    if resolves:
        names["sip.example.com"] = [Address(resolves, 5061)]
    found = told(examine(home, 'external_ip = "8.8.4.4"\n' + TLS + HANDLER), "certificate")
    assert any(at == level and "8.8.4.4" in text for at, text in found), found


def test_certificate_that_does_not_name_the_trunks_contact_host_fails(home: Path, names: dict[str, list[Address]]) -> None:
    write_certificate(home, rsa.generate_private_key(public_exponent=65537, key_size=2048), days=200)
    trunk = '[[trunks]]\nname = "teams"\nallow = ["192.0.2.1"]\ncontact_host = "sbc.example.net"\n'
    found = told(examine(home, TLS + HANDLER + trunk), "certificate")
    assert any(level == "fail" and "sbc.example.net" in text for level, text in found), found


@pytest.mark.parametrize(
    ("matter", "words"),
    [
        ("asr: {provider: pocketsphinx}\nllm: {provider: openai, model: m, baseUrl: 'http://127.0.0.1:1', apiKey: k}", "free speech"),
        ("llm: {provider: script, language: de}", "English only"),
        ("llm: {provider: script}\nasr: {language: fr}", "English only"),
        ("llm: {provider: script}\ntts: {language: xx}", "no voice 'xx'"),
    ],
)
def test_engines_that_do_not_fit_the_playbook_fail(home: Path, names: dict[str, list[Address]], matter: str, words: str) -> None:
    (home / "playbooks" / "main.md").write_text(f"---\n{matter}\n---\n# Scene: a\nHi", encoding="utf-8")
    found = told(examine(home, HANDLER), "engines")
    assert any(level == "fail" and words in text for level, text in found), found
    assert not any(level == "ok" for level, _ in found)


@pytest.mark.parametrize(
    ("matter", "level", "words"),
    [
        (
            "llm: {provider: script}\nasr: {provider: pocketsphinx, fallback: [nowhere]}",
            "fail",
            "speech recognition (fallback): asr.provider",
        ),
        ("llm: {provider: script}\ntts: {provider: espeak, fallback: [nowhere]}", "fail", "speech synthesis (fallback): tts.provider"),
        ("llm: {provider: script}\nasr: {provider: nowhere, fallback: [elsewhere]}", "fail", "elsewhere"),
        ("llm: {provider: openai, model: m, baseUrl: 'http://127.0.0.1:1', apiKey: k, fallback: [nowhere]}", "fail", "model (fallback)"),
        (
            "llm: {provider: script}\nasr: {provider: pocketsphinx}\ntts: {provider: openai, secretKey: k, fallback: [espeak]}",
            "ok",
            "speech synthesis (fallback): espeak",
        ),
    ],
)
def test_fallback_engines_are_tried_and_told(home: Path, names: dict[str, list[Address]], matter: str, level: str, words: str) -> None:
    (home / "playbooks" / "main.md").write_text(f"---\n{matter}\n---\n# Scene: a\nHi", encoding="utf-8")
    found = told(examine(home, HANDLER), "engines")
    assert any(found_level == level and words in text for found_level, text in found), found
