"""The words of turns in each language: complete tables, and what they say of callers' sentences and agents' questions."""

from __future__ import annotations

import pytest

from active_call.agent.turn.backchannels import backchannels
from active_call.agent.turn.expectation import Asked, Completeness, completeness_of, expected_after
from active_call.agent.turn.turn_words import turn_words

LANGUAGES = ("en", "de", "es", "fr", "it", "pt", "nl", "zh", "ja")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_list_and_back_channels_of_its_own(language: str) -> None:
    words = turn_words(language)
    assert words.unfinished and words.whole and words.leading and words.digits
    assert set(words.digits.values()) == set(range(10))
    assert language == "en" or words != turn_words("en")
    assert not words.whole & words.leading, "a turn by itself either ends one or begins one"
    assert backchannels(language).listening


@pytest.mark.parametrize(
    ("language", "text", "completeness"),
    [
        ("es", "Quisiera reservar una mesa para", Completeness.UNFINISHED),
        ("es", "Gracias, adiós.", Completeness.SURE),
        ("es", "Gracias.", Completeness.LEADING),
        ("fr", "Je voudrais un rendez-vous parce que", Completeness.UNFINISHED),
        ("fr", "Merci, au revoir.", Completeness.SURE),
        ("it", "Vorrei prenotare un tavolo per", Completeness.UNFINISHED),
        ("it", "Grazie, arrivederci!", Completeness.SURE),
        ("pt", "Eu gostaria de falar com", Completeness.UNFINISHED),
        ("pt", "Não, obrigado.", Completeness.ANSWER),
        ("nl", "Ik wil graag een afspraak maken voor", Completeness.UNFINISHED),
        ("nl", "Dat was het.", Completeness.SURE),
        ("zh", "我想订一张桌子，因为", Completeness.UNFINISHED),
        ("zh", "谢谢，再见。", Completeness.SURE),
        ("zh", "我想订一张桌子。", Completeness.COMPLETE),
        ("ja", "予約をしたいんですけど", Completeness.UNFINISHED),
        ("ja", "いいえ、結構です。", Completeness.SURE),
        ("ja", "明日の午後三時にお願いします。", Completeness.COMPLETE),
    ],
)
def test_sentence_is_as_whole_as_it_is(language: str, text: str, completeness: Completeness) -> None:
    assert completeness_of(text, expected_after(""), language) is completeness


@pytest.mark.parametrize(
    ("language", "question", "asked"),
    [
        ("es", "¿Cuál es su número de pedido?", Asked.DIGITS),
        ("es", "¿Quiere una mesa?", Asked.YES_NO),
        ("fr", "Quelle est votre adresse e-mail ?", Asked.EMAIL),
        ("it", "Qual è il suo numero di telefono?", Asked.DIGITS),
        ("pt", "Pode soletrar o seu nome?", Asked.SPELLING),
        ("nl", "Wat is uw adres?", Asked.ADDRESS),
        ("zh", "您的订单号码是多少？", Asked.DIGITS),
        ("zh", "您要订桌子吗？", Asked.YES_NO),
        ("ja", "お名前の綴りを教えてください。", Asked.SPELLING),
        ("ja", "この内容でよろしいですか？", Asked.YES_NO),
    ],
)
def test_question_asks_for_its_kind_of_answer(language: str, question: str, asked: Asked) -> None:
    assert expected_after(question, language).asked is asked


def test_digits_are_counted_in_every_language() -> None:
    for language, said in (("es", "cuatro dos siete"), ("fr", "quatre deux sept"), ("nl", "vier twee zeven"), ("zh", "四二七")):
        expected = expected_after(
            {"es": "Diga su número.", "fr": "Votre numéro ?", "nl": "Uw nummer?", "zh": "您的号码？"}[language], language
        )
        assert completeness_of(said, expected, language) is Completeness.OPEN, language
