"""Detect yes or no in an utterance, in the languages of `_WORDS`. Pure."""

from __future__ import annotations

from active_call.agent.matching.spoken_form import spoken_words

MAX_OTHER_WORDS = 4
"""With more other words, a "yes" begins a sentence about something else."""
_WORDS: dict[str, tuple[str, str]] = {
    "en": (
        "yes yeah yep yup yea aye sure correct right exactly indeed absolutely definitely certainly okay affirmative",
        "no nope nah not wrong incorrect never negative",
    ),
    "de": ("ja jawohl jo genau richtig stimmt gerne klar sicher natürlich korrekt", "nein nee nö nicht falsch kein keine"),
    "fr": ("oui ouais exactement correct bien voilà accord", "non pas faux"),
    "es": ("sí si claro correcto exacto exactamente vale", "no incorrecto"),
    "it": ("sì si certo esatto giusto corretto", "no sbagliato non"),
    "pt": ("sim claro certo correto exato isso", "não nao errado"),
    "nl": ("ja jawel klopt precies juist inderdaad graag", "nee neen niet fout"),
    "zh": ("是 对 好 行 嗯", "不 没 别 否 错"),
}
_YES_PHRASES = frozenset(
    {("i", "do"), ("please", "do"), ("go", "ahead"), ("of", "course"), ("bien", "sûr"), ("por", "favor"), ("por", "supuesto")}
)
_NODS = frozenset({"mmhmm", "mmhm", "mhm", "mhmm", "mmmhmm", "uhhuh", "umhum", "umhmm", "ahhuh"})
_QUIET_WORDS = frozenset(
    {
        "please", "thank", "you", "thanks", "that", "is", "it", "i", "am", "the", "um", "uh", "well", "oh", "bitte", "danke", "merci",
        "gracias", "grazie", "obrigado", "的", "了", "谢", "请", "啊", "吧",
    }
)  # fmt: skip


def yes_or_no(text: str, language: str | None = None) -> bool | None:
    """True for yes, False for no, None for neither or for a longer sentence. `language`: a BCP 47 tag, None means English."""
    words = spoken_words(text)
    if is_nod(text):
        return True
    yes, no = (frozenset(row.split()) for row in _WORDS.get(_primary(language), _WORDS["en"]))
    telling = [word for word in words if word in yes or word in no]
    others = [word for word in words if word not in yes and word not in no and word not in _QUIET_WORDS]
    if words in _YES_PHRASES:
        return True
    if not telling or len(others) > MAX_OTHER_WORDS:
        return None
    if telling[0] in no:
        return False
    return True if all(word in yes for word in telling) else None  # "yes, no, wait"


def is_nod(text: str) -> bool:
    """Whether `text` is only a hum that means yes: "mm-hmm", "uh-huh"."""
    return "".join(char for char in text.lower() if char.isalpha()) in _NODS


def equal_answers(text: str, language: str | None = None) -> tuple[str, ...]:
    """The words that mean the same as `text` if that is a yes or a no and nothing else, the plainest first; else empty."""
    yes, no = (tuple(row.split()) for row in _WORDS.get(_primary(language), _WORDS["en"]))
    is_yes = yes_or_no(text, language)
    if is_yes is None or not (is_nod(text) or all(word in yes or word in no or word in _QUIET_WORDS for word in spoken_words(text))):
        return ()
    return yes if is_yes else no


def _primary(language: str | None) -> str:
    return (language or "en").replace("_", "-").partition("-")[0].lower()
