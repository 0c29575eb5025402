"""STT and TTS plugin classes of LiveKit Agents as adapters: `asr: {provider: livekit/NAME}`, `tts: {provider: livekit/NAME}`."""
