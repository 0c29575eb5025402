"""Names that existing clients, playbooks and config files use lead somewhere: options with their aliases, providers, the environment."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from active_call.agent.playbook.scenes import LlmOption
from active_call.contract import options, wire
from active_call.contract.errors import ContractError
from active_call.providers.declared import declared_providers
from active_call.providers.entry_points import KINDS, found_adapters, known_providers, load_adapter
from active_call.providers.models.folders import FOLDER_VARIABLE
from active_call.providers.openai_settings import KEY_VARIABLE, MODEL_VARIABLE, URL_VARIABLE
from active_call.providers.tts.vendors import voiceapi

OPTIONS = """
SipOption username password realm contact headers hangupHeaders extractHeaders enableSrtp
RecorderOption recorderFile samplerate ptime format nativeSamplerate
VadOption type samplerate speechPadding silencePadding ratio voiceThreshold maxBufferDurationSecs silenceTimeout endpoint secretKey
VadOption secretId
AgcOption headroomDb maxGainDb initialGainDb maxGainChangeDbPerSecond maxOutputNoiseLevelDbfs adjacentSpeechFramesThreshold enableLimiter
AsrOption provider language appId secretId secretKey apiKey modelType model bufferSize samplerate endpoint extra startWhenAnswer
TtsOption provider samplerate speed appId secretId secretKey apiKey volume speaker codec subtitle emotion model voice language endpoint
TtsOption extra maxConcurrentTasks cacheKey sessionId
EouOption type endpoint secretKey apiKey secretId timeout extra
RealtimeOption provider model secretKey apiKey secretId endpoint turnDetection tools voice extra
AmbianceOption path duckLevel normalLevel transitionSpeed enabled
RingbackDetectionOption enabled minBufferSecs detectionIntervalSecs confidenceThreshold onStateChangeOnly slidingWindowSize
RingbackDetectionOption finalConfidenceThreshold modelWeightsPath
MediaPassOption url inputSampleRate outputSampleRate packetSize ptime
MonitorOption url bufferSize ptime headers
ReferOption denoise agc vad asr timeout moh autoHangup sip callId pauseParentAsr forwardDtmf mode extraHeaders
CallOption caller callee offer codec denoise handshakeTimeout inactivityTimeout subscribe enableIpv6 enableIceLite extra sip recorder vad
CallOption agc asr tts eou realtime ambiance ringbackDetection mediaPass monitor rtpTimeout
LlmOption provider model baseUrl apiKey prompt greeting language temperature maxTokens features repairWindowMs summaryLimit tools mcp
"""
PROVIDERS = """
asr openai openai-realtime sensevoice sherpa tencent aliyun dashscope deepgram azure google assemblyai elevenlabs cartesia speechmatics
asr soniox gladia groq moonshine pocketsphinx whisper livekit
tts openai supertonic sherpa tencent tencent_basic aliyun dashscope cosyvoice deepgram voiceapi elevenlabs cartesia azure google rime
tts inworld hume piper espeak livekit
llm openai openai-responses anthropic gemini
realtime openai azure gemini
"""
ENVIRONMENT = (
    "OPENAI_API_KEY OPENAI_BASE_URL OPENAI_MODEL TENCENT_APPID TENCENT_SECRET_ID TENCENT_SECRET_KEY DASHSCOPE_API_KEY DEEPGRAM_API_KEY "
    "VOICEAPI_ENDPOINT VOICEAPI_SPEAKER_ID OFFLINE_MODELS_DIR"
)


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1], name).lower()


def pairs_in(table: str) -> list[tuple[str, str]]:
    """The first word of each line with each of the others."""
    return [(first, name) for first, *names in (line.split() for line in table.strip().split("\n")) for name in names]


KINDS_OF_OPTIONS = {"LlmOption": LlmOption}


def is_known(kind: Any, spelling: str) -> bool:
    """Whether the key is read: it is taken, or its value is refused because it must not be null."""
    try:
        return wire.convert({spelling: None}, kind).unknown == []
    except ContractError as error:
        return snake(error.path.rpartition(".")[2]) == snake(spelling)


@pytest.mark.parametrize(("group", "name"), pairs_in(OPTIONS))
def test_option_is_known_by_its_name_in_both_spellings(group: str, name: str) -> None:
    kind: Any = KINDS_OF_OPTIONS.get(group) or getattr(options, group)
    fields = {field.name for field in msgspec.structs.fields(kind)} | set(kind.aliases)
    assert snake(name) in fields
    assert all(is_known(kind, spelling) for spelling in (name, snake(name)))


@pytest.mark.parametrize(("section", "name"), pairs_in(PROVIDERS))
def test_provider_is_known_by_its_name(section: str, name: str) -> None:
    assert name in known_providers(section) and callable(load_adapter(KINDS[section], name))


def test_every_provider_of_this_package_is_in_the_table() -> None:
    for section in KINDS:
        ours = {name for name, module in found_adapters(section).items() if module.startswith("active_call.")}
        assert ours == {name for of, name in pairs_in(PROVIDERS) if of == section}


def test_variables_of_existing_set_ups_are_read() -> None:
    declared = {key for one in declared_providers({}) if one.declaration is not None for key in one.declaration.keys}
    read = declared | {KEY_VARIABLE, URL_VARIABLE, MODEL_VARIABLE, FOLDER_VARIABLE, voiceapi.URL_VARIABLE, voiceapi.SPEAKER_VARIABLE}
    assert set(ENVIRONMENT.split()) <= read
