"""Options that are accepted so that files for other programs load, and that have no effect here.

In: an option group's type. Out: per field, what to do instead, or an empty text. Configuration and playbooks warn with it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from active_call.contract import options

_USE_VOICE_THRESHOLD = "use voiceThreshold to set how sure the detector must be"

WITHOUT_EFFECT: Mapping[type[msgspec.Struct], Mapping[str, str]] = {
    options.SipOption: {"contact": "use contact_host of the trunk"},
    options.RecorderOption: {"native_samplerate": "set samplerate instead"},
    options.VadOption: {
        "type": "the detector is always silero",
        "provider": "the detector is always silero",
        "sensitivity": _USE_VOICE_THRESHOLD,
        "samplerate": "",
        "speech_padding": "",
        "ratio": _USE_VOICE_THRESHOLD,
        "max_buffer_duration_secs": "",
        "endpoint": "",
        "secret_key": "",
        "secret_id": "",
    },
    options.AsrOption: {"buffer_size": "", "start_when_answer": "", "sample_rate": "write samplerate"},
    options.TtsOption: {
        "session_id": "",
        "codec": "",
        "subtitle": "",
        "max_concurrent_tasks": "",
        "cache_key": "it belongs in a tts command or POST /precache",
        "sample_rate": "write samplerate",
        "wait_input_timeout": "it belongs in a tts command",
    },
    options.EouOption: {
        "endpoint": "",
        "secret_key": "",
        "secret_id": "",
        "extra": "",
    },
    options.RealtimeOption: {"secret_id": "", "tools": "the playbook's tools are offered to the model"},
    options.RingbackDetectionOption: {
        "min_buffer_secs": "",
        "detection_interval_secs": "",
        "sliding_window_size": "",
        "final_confidence_threshold": "",
        "model_weights_path": "",
    },
    options.CallOption: {
        "codec": "",
        "enable_ipv6": "addresses of both families are used as they come",
        "enable_ice_lite": "enable_ice_lite of the configuration switches it for all browsers",
        "extra": "",
    },
}
