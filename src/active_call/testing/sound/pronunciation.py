"""Pronunciations for words that no dictionary has: the International Phonetic Alphabet in, ARPAbet out.

Names and numbers of a playbook (`Telnyx`, `42`) reach the judge's grammar this way. The table is the General American inventory of the
CMU dictionary, in the notation that espeak-ng writes for `en-us`.
"""

from __future__ import annotations

_PHONES = {
    "tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY", "ɜː": "ER", "iː": "IY", "uː": "UW",
    "ɑː": "AA", "ɔː": "AO", "oː": "AO", "əl": "AH L", "iə": "IY AH", "aɪɚ": "AY ER", "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R",
    "ɚ": "ER", "ɝ": "ER", "æ": "AE", "ɐ": "AH", "ʌ": "AH", "ə": "AH", "ɑ": "AA", "ɔ": "AO", "ɛ": "EH", "e": "EH", "ɪ": "IH", "ᵻ": "IH",
    "i": "IY", "ʊ": "UH", "u": "UW", "o": "OW", "a": "AA", "ɒ": "AA", "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G",
    "h": "HH", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "s": "S", "ʃ": "SH", "t": "T",
    "ɾ": "D", "θ": "TH", "v": "V", "w": "W", "z": "Z", "ʒ": "ZH", "x": "K", "ʔ": "T", "n̩": "AH N",
}  # fmt: skip
_LONGEST = max(map(len, _PHONES))


def arpabet(ipa: str) -> str:
    """The phones of an IPA transcription, separated by spaces; marks without a phone (stress, length) are ignored."""
    phones: list[str] = []
    position = 0
    while position < len(ipa):
        for length in range(_LONGEST, 0, -1):
            phone = _PHONES.get(ipa[position : position + length])
            if phone is not None:
                phones.append(phone)
                position += length
                break
        else:
            position += 1
    return " ".join(phones)
