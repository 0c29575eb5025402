"""A config file and a playbook with every name of the original program load here; what has no effect is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.server.certificate import write_development_certificate
from active_call.server.config.loading import load_config

CONFIG = """
addr = "0.0.0.0"
udp_port = 25060
tls_port = 25061
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
http_addr = "0.0.0.0:8080"
external_ip = "YOUR_SERVER_PUBLIC_IP"
auto_learn_public_address = true
rtp_start_port = 12000
rtp_end_port = 42000
rtp_bind_ip = "0.0.0.0"
enable_rtp_latching = true
enable_srtp = false
enable_ice_lite = true
codecs = ["pcmu", "pcma", "g722", "g729", "opus", "telephone_event"]
accept_timeout = "50s"
enable_options_response = true
useragent = "mine"
sip_register_proxy = true
auto_refer = true
auto_refer_timeout = 30
media_cache_path = "./cache"
log_level = "info"
log_file = "log.txt"
http_access_skip_paths = ["/health"]
http_gzip = true
graceful_shutdown = true
graceful_shutdown_timeout = "30s"
peers = ["10.0.0.2"]
rewrites = [{ match = "^sip:9", rewrite = "sip:" }]

[[ice_servers]]
urls = ["stun:stun.l.google.com:19302"]
username = "u"
credential = "p"

[[sip_registrations]]
name = "a"
username = "u"
password = "p"
server = "pbx.example.com"
realm = "r"

[[register_users]]
server = "pbx.example.com"
username = "u2"
auth_username = "login"
display_name = "U"
disabled = false
[register_users.credential]
username = "u2"
password = "p"
realm = "r"

[handler]
type = "webhook"
url = "http://127.0.0.1:1/"
urls = ["http://127.0.0.1:2/"]
method = "POST"
headers = [["X-A", "b"]]

[[trunk_rules]]
rule.match.from.user = "^1"
rule.match.to.host = "x"
rule.rewrite.from.user = "2"
rule.rewrite.contact.host = "y"

[options_response]
enabled = true
allow = ["10.0.0.0/8"]
allow_registered_servers = true
auto_learn = true
learn_ttl = "7d"
extra_headers = {}

[sipflow]
enabled = true
max_calls = 10
max_items_per_call = 100
[sipflow.upload]
type = "http"
url = "http://127.0.0.1:3/"

[recording]
enabled = true
auto_start = true
filename_pattern = "{id}"
path = "rec"
samplerate = 16000
ptime = 200
format = "FORMAT"
native_samplerate = true

[callrecord]
type = "http"
url = "http://127.0.0.1:4/"
headers = { X-A = "b" }
with_media = true
keep_media_copy = true

[vad]
provider = "silero"
type = "silero"
sensitivity = 0.5
samplerate = 16000
speechPadding = 250
silencePadding = 100
ratio = 0.5
voiceThreshold = 0.5
maxBufferDurationSecs = 50
silenceTimeout = 500

[ambiance]
duckLevel = 0.1
normalLevel = 0.3
transitionSpeed = 0.01
enabled = false
"""

PLAYBOOK = """---
asr: {provider: aliyun, language: zh, appId: a, secretId: b, secretKey: c, modelType: m, bufferSize: 1, samplerate: 16000, baseUrl: "http://a/",
  extra: {}, startWhenAnswer: true}
tts: {provider: aliyun, samplerate: 16000, speed: 1.0, appId: a, secretId: b, apiKey: c, volume: 5, speaker: s, codec: pcm, subtitle: false,
  emotion: calm, model: m, language: zh, baseUrl: "http://t/", extra: {}, maxConcurrentTasks: 1, cacheKey: k, sessionId: i}
llm: {provider: openai, model: m, baseUrl: "http://l/", apiKey: k, prompt: p, greeting: g, language: zh, temperature: 0.7, maxTokens: 10,
  features: [http_tool, voice_emotion, emotion_resonance, intent_clarification, context_repair, rolling_summary], repairWindowMs: 3000,
  summaryLimit: 20, toolInstructions: t}
vad: {provider: silero, sensitivity: 0.5, type: silero, speechPadding: 250, silencePadding: 100, ratio: 0.5, voiceThreshold: 0.5,
  maxBufferDurationSecs: 50, silenceTimeout: 500, endpoint: e, secretKey: k, secretId: i}
denoise: true
agc: {headroomDb: 5, maxGainDb: 50, initialGainDb: 15, maxGainChangeDbPerSecond: 6, maxOutputNoiseLevelDbfs: -50,
  adjacentSpeechFramesThreshold: 12, enableLimiter: true}
ambiance: {path: a.wav, duckLevel: 0.1, normalLevel: 0.3, transitionSpeed: 0.01, enabled: true}
recorder: {recorderFile: "{id}.wav", samplerate: 16000, ptime: 200, format: g722, nativeSamplerate: true}
extra: {a: b}
eou: {type: tencent, endpoint: e, secretKey: k, secretId: i, timeout: 500, extra: {}}
realtime: {provider: openai, model: m, secretKey: k, secretId: i, endpoint: e, turnDetection: {}, tools: [], voice: v, extra: {}}
ringbackDetection: {enabled: true, minBufferSecs: 6.0, detectionIntervalSecs: 2.0, slidingWindowSize: 6, confidenceThreshold: 0.5,
  finalConfidenceThreshold: 0.9, modelWeightsPath: w, onStateChangeOnly: true}
mediaPass: {url: "ws://m/", inputSampleRate: 16000, outputSampleRate: 16000, packetSize: 2560, ptime: 20}
monitor: {url: "ws://m/", bufferSize: 1, ptime: 20, headers: {}}
rtpTimeout: 20
refer: {denoise: true, timeout: 30, moh: m.wav, autoHangup: true, callId: c, pauseParentAsr: true, forwardDtmf: true, extraHeaders: {A: b}}
sip: {username: u, password: p, realm: r, contact: c, headers: {A: b}, hangupHeaders: {A: b}, extractHeaders: [X-A], enableSrtp: true,
  bye_headers: [{name: X-B, value: c}]}
greeting: Hello
interruption: {strategy: both, minSpeechMs: 100, fillerWordFilter: true, volumeFadeMs: 100, ignoreFirstMs: 100}
followUp: {timeout: 8000, maxCount: 2}
dtmf: {"1": {action: goto, scene: b}, "2": {action: transfer, target: "sip:a@b"}, "3": {action: hangup}}
dtmfCollectors: {pin: {description: d, digits: 4, minDigits: 4, maxDigits: 4, finishKey: "#", timeout: 15, interDigitTimeout: 5,
  validation: {pattern: "^[0-9]+$", errorMessage: e}, retryTimes: 3, interruptible: false}}
posthook: {url: "http://p/", summary: short, method: POST, headers: {A: b}, includeHistory: true, timeout: 30}
---
Global prompt.

# Scene: a
<dtmf digit="1" action="goto" scene="b"/>
<followup timeout="5000" max="3"/>
<play file="hello.wav"/>
One.

# Scene: b
Two.
"""


@pytest.mark.parametrize("format_name", ["wav", "pcm", "g722", "pcmu", "pcma"])
def test_config_of_the_original_loads_and_tells_what_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_development_certificate(tmp_path / "cert.pem", tmp_path / "key.pem", ["127.0.0.1"])
    path = tmp_path / "active-call.toml"
    path.write_text(CONFIG.replace("FORMAT", format_name), encoding="utf-8")
    config = load_config(path, {}, {})
    told = "\n".join(config.warnings)
    for key in ("auto_refer", "options_response", "sipflow", "peers", "http_gzip", "vad.provider", "vad.sensitivity", "native_samplerate"):
        assert f"{key} has no effect" in told
    assert "external_ip is still the guide's placeholder YOUR_SERVER_PUBLIC_IP" in told
    assert config.external_ip is None
    assert "recording.format" not in told  # all of them are written
    assert config.accept_timeout == 50
    lines = [int(warning.split(":")[1]) for warning in config.warnings]
    assert lines == sorted(lines)
    assert all(line > 0 for line in lines)


def test_playbook_of_the_original_loads_and_every_name_is_known() -> None:
    book = parse_playbook(PLAYBOOK, file="p.md", environment={})
    assert not [warning for warning in book.warnings if "unknown key" in warning]
    assert any("vad.sensitivity has no effect" in warning for warning in book.warnings)
    assert book.option.asr and book.option.asr.endpoint == "http://a/"
    assert book.option.tts and book.option.tts.endpoint == "http://t/"
    assert book.start.followup and (book.start.followup.timeout, book.start.followup.max) == (5000, 3)
    assert book.scenes[1].followup is None


def test_shipped_files_have_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from active_call.server.starter_files import starter_text, write_starter_files

    monkeypatch.chdir(tmp_path)
    write_starter_files(tmp_path / "active-call.toml", ["localhost"])
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "greeting.md").write_text(starter_text("greeting.md"), encoding="utf-8")
    assert load_config(tmp_path / "active-call.toml", {}, {}).warnings == ()
