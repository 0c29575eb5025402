"""The judge's recogniser on speech it was not built with: two voices, telephone band, sentences inside and outside its grammar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from active_call.testing.sound import audio, listening, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import Recogniser, split_into_sentences, utterances
from active_call.testing.sound.pronunciation import arpabet

LINES = [
    "Hello, this is the demo line. How can I help you?",
    "Your balance is 42 dollars.",
    "Sorry, I did not understand that.",
    "Goodbye, and thank you for calling Telnyx!",
    "Press one for sales, or two for support.",
]
DECOYS = ["Please hold while I connect you."]
CALLBACK = Path(__file__).parents[1] / "vectors" / "speech" / "said_callback.ulaw"
STRANGERS = ["The weather in Paris is sunny today.", "I would like to order a large pizza.", "The train to London leaves at nine.", "Yes."]


def on_the_phone(text: str, name: str) -> Pcm:
    return audio.MULAW.decode(audio.MULAW.encode(voice.speak(text, name)))


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(LINES, DECOYS)


@pytest.mark.parametrize("name", ["en-us", "en-gb+f3"])
def test_recogniser_hears_every_line_in_two_voices(recogniser: Recogniser, name: str) -> None:
    assert [recogniser.recognise(on_the_phone(line, name)).sentences for line in LINES] == [(line,) for line in LINES]


@pytest.mark.parametrize("name", ["en-us", "en-gb+f3"])
def test_recogniser_says_none_for_sentences_it_does_not_know(recogniser: Recogniser, name: str) -> None:
    assert [recogniser.recognise(on_the_phone(line, name)).text for line in STRANGERS] == ["none"] * len(STRANGERS)


def test_recogniser_marks_a_decoy(recogniser: Recogniser) -> None:
    heard = recogniser.recognise(on_the_phone(DECOYS[0], "en-us"))
    assert heard.is_decoy
    assert heard.sentences == (DECOYS[0],)


def test_recogniser_hears_two_sentences_in_one_breath(recogniser: Recogniser) -> None:
    assert recogniser.recognise(on_the_phone(f"{LINES[1]} {LINES[4]}", "en-us")).sentences == (LINES[1], LINES[4])


def test_recogniser_says_none_for_noise_and_for_nothing(recogniser: Recogniser) -> None:
    assert recogniser.recognise(audio.noise(8000, sigma=2000)).text == "none"
    assert recogniser.recognise(audio.silence(1000)).text == "none"


def test_recogniser_of_incomplete_speech_hears_how_far_a_sentence_came() -> None:
    recogniser = Recogniser(LINES, DECOYS, incomplete=True)
    whole = on_the_phone(LINES[4], "en-us")
    heard = recogniser.recognise(whole[: int(len(whole) * 0.55)])
    assert heard.sentences == (LINES[4],)
    assert heard.words.startswith("press one for sales")
    assert len(heard.words.split()) < 8


def test_utterances_are_divided_by_pauses_of_the_gap_only() -> None:
    loud = np.full(8000, 3000, dtype=np.int16)
    timeline = np.concatenate((audio.silence(500), loud, audio.silence(400), loud, audio.silence(1000), loud, audio.silence(200)))
    found = [(one.start, one.end) for one in utterances(timeline)]
    assert found == [(4000, 4000 + 8000 + 3200 + 8000), (31_200, 39_200)]


def test_utterances_of_a_noisy_line_without_speech_are_none() -> None:
    assert utterances(audio.noise(16_000)) == []


def test_split_into_sentences_finds_the_only_division() -> None:
    assert split_into_sentences(["a", "b", "c", "a", "b"], ["A b.", "C a, b!", "a"]) == ("A b.", "C a, b!")
    assert split_into_sentences(["a", "x"], ["a"]) == ()


def test_arpabet_of_a_name_has_its_phones() -> None:
    assert arpabet("tˈɛlnɪks") == "T EH L N IH K S"
    assert arpabet("fˈɔːɹɾi tˈuː") == "F AO R D IY T UW"


def test_voice_without_the_name_is_an_error_that_names_it() -> None:
    with pytest.raises(voice.VoiceError, match="martian"):
        voice.speak("hello", "martian")


def test_grammar_needs_two_words_before_a_sentence_may_break_off() -> None:
    assert listening.grammar(["One two three."], incomplete=True).endswith("( one two three )* ( one two [ three ] ) ;")


def test_sentence_that_is_not_recognised_at_the_first_hearing_is_heard_again() -> None:
    """Three words and a soft end, as they came over the wire; the decoder, fresh, finds no path through them."""
    timeline = audio.MULAW.decode(CALLBACK.read_bytes())
    (one,) = utterances(timeline)
    recogniser = Recogniser(["This is your callback."], ["Your balance is forty two dollars.", "Please leave a message after the tone."])
    assert recogniser.recognise(timeline[one.start : one.end]).sentences == ("This is your callback.",)
