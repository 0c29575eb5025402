"""A call changes its language, and speaks in moods: the recogniser and the voice follow."""

from __future__ import annotations

from typing import Any

from calls_kit import Voice, a_call

from active_call.base.errors import ConfigError
from active_call.contract import events
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.text_to_speech import TextToSpeechCapabilities

BOOK = """---
llm: {provider: script}
greeting: "Hello."
tts: {language: en, speaker: amy}
languages: {de: thorsten}
---
## german
One moment. <language code="de"/>Guten Tag.

## french
<language code="fr"/>Bonjour.

## happy
[happy]How nice.[/happy] Indeed.
"""


class MoodyVoice(Voice):
    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz, emotions=True)


def with_options(call: Any) -> tuple[list[TtsOption], list[AsrOption]]:
    """What engines are asked for, from now on."""
    voices: list[TtsOption] = []
    asr_options: list[AsrOption] = []
    voice, recogniser = call.engines.voice, call.engines.recogniser

    def get_synthesiser(option: Any, trust: Any = None) -> Any:
        voices.append(option)
        return voice

    def get_recogniser(option: Any, trust: Any = None) -> Any:
        if option.language == "xx":
            raise ConfigError("asr", "unknown language")
        asr_options.append(option)
        return recogniser

    call.engines.get_synthesiser, call.engines.get_recogniser = get_synthesiser, get_recogniser
    return voices, asr_options


def test_language_is_spoken_and_recognised_from_there_on(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK) as call:
            voices, asr_options = with_options(call)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("german")
            await call.until(lambda: "Guten Tag." in call.spoken)
            assert [option.language for option in asr_options][-1] == "de"
            assert voices[-1].language == "de" and voices[-1].speaker is None
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            await call.says("happy")
            await call.until(lambda: "Indeed." in call.spoken)
            assert voices[-1].language == "de"

    virtually(story())


def test_language_that_the_playbook_does_not_list_changes_nothing(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK) as call:
            _, asr_options = with_options(call)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("french")
            await call.until(lambda: "Bonjour." in call.spoken)
            assert not [option for option in asr_options if option.language == "fr"]

    virtually(story())


def test_mood_reaches_a_voice_that_understands_it_for_its_words_alone(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK, voice=MoodyVoice()) as call:
            voices, _ = with_options(call)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            n_before = len(voices)
            await call.says("happy")
            await call.until(lambda: "Indeed." in call.spoken)
            assert [option.emotion for option in voices[n_before:]] == ["happy"]

    virtually(story())
