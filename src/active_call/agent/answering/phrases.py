"""Phrases of answering machines, call screening, menus and network announcements, by language. Data: lower case, no punctuation.

The phrases are those of carriers' default mailboxes, of the call screening of phones, and of common PBX menus.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final, Literal

Kind = Literal["human", "voicemail", "mailboxFull", "screening", "menu", "hold", "fax", "announcement"]

RANK: Final[tuple[Kind, ...]] = ("mailboxFull", "screening", "voicemail", "announcement", "hold", "menu")
"""If an utterance matches several kinds, the first of these wins: a full mailbox is also a mailbox, and a greeting may offer keys."""

PHRASES: Final[Mapping[str, Mapping[Kind, tuple[str, ...]]]] = {
    "en": {
        "mailboxFull": ("mailbox is full", "mailbox is currently full", "voicemail box is full", "cannot accept any messages",
                        "mailbox has not been set up", "voicemail box that has not been set up"),
        "screening": ("record your name and reason for calling", "say your name and why you are calling", "name and why youre calling",
                      "using a screening service", "call screening", "before i try to connect you", "state your name and the reason",
                      "say your name and the reason", "name and the reason for your call", "name and reason for your call"),
        "voicemail": ("leave a message", "leave your message", "leave me a message", "record your message", "after the tone",
                      "after the beep", "at the tone", "at the beep", "reached the voicemail", "reached the mailbox",
                        "you have reached the voice mail",
                      "forwarded to voicemail", "forwarded to an automated voice", "cant come to the phone", "cannot come to the phone",
                      "cant take your call", "unable to take your call", "is not available to take your call",
                        "leave your name and number"),
        "announcement": ("not in service", "has been disconnected", "number you have dialed", "number you have dialled",
                        "number you dialed",
                         "cannot be completed as dialed", "call cannot be completed", "is switched off",
                         "the subscriber you have called", "all circuits are busy"),
        "hold": ("please hold", "stay on the line", "remain on the line", "your call is important", "agents are busy",
                 "representatives are busy", "next available agent", "next available representative", "you are number",
                        "position in the queue"),
        "menu": ("press one", "press two", "press 1", "press 2", "press 0", "press zero", "press pound", "press star", "main menu",
                 "following options", "menu options have changed", "enter your account number", "dial your partys extension"),
        "human": ("hello", "hi", "hey", "yes", "yeah", "speaking", "good morning", "good afternoon", "good evening", "who is this",
                        "whos this"),
    },
    "de": {
        "mailboxFull": ("mailbox ist voll", "speicher ist voll", "keine weiteren nachrichten"),
        "screening": ("nennen sie ihren namen und den grund", "namen und den grund ihres anrufs", "warum sie anrufen"),
        "voicemail": ("hinterlassen sie", "nachricht nach dem signalton", "nach dem signalton", "nach dem piepton", "nach dem ton",
                      "mailbox von", "sprachbox", "anrufbeantworter", "nicht persönlich erreichbar", "mailbox des teilnehmers"),
        "announcement": ("kein anschluss unter dieser nummer", "vorübergehend nicht erreichbar",
                         "gewünschte gesprächspartner", "rufnummer ist nicht vergeben", "die gewählte rufnummer"),
        "hold": ("bitte warten", "bleiben sie in der leitung", "bitte haben sie einen moment geduld", "nächste freie mitarbeiter",
                 "leitungen sind belegt", "mitarbeiter sind im gespräch"),
        "menu": ("drücken sie", "wählen sie die", "hauptmenü", "taste eins", "taste zwei"),
        "human": ("hallo", "ja", "ja bitte", "guten tag", "guten morgen", "grüß gott", "am apparat", "wer ist da"),
    },
    "es": {
        "mailboxFull": ("buzón está lleno", "buzón de voz está lleno"),
        "screening": ("diga su nombre y el motivo", "indique su nombre y el motivo", "nombre y el motivo de la llamada"),
        "voicemail": ("deje su mensaje", "deje un mensaje", "deja un mensaje", "deja tu mensaje", "después de la señal",
                        "después del tono",
                      "después de oír la señal", "buzón de voz", "contestador"),
        "announcement": ("el número que ha marcado", "el número marcado", "apagado o fuera de cobertura"),
        "hold": ("permanezca en la línea", "espere por favor", "por favor espere", "agentes están ocupados", "su llamada es importante"),
        "menu": ("pulse uno", "pulse dos", "pulse 1", "pulse 2", "presione uno", "presione dos", "marque uno", "marque 1",
                        "menú principal"),
        "human": ("hola", "sí", "si", "diga", "dígame", "bueno", "aló", "buenos días", "buenas tardes", "quién es"),
    },
    "fr": {
        "mailboxFull": ("messagerie est pleine", "boîte vocale est pleine", "messagerie de votre correspondant est pleine"),
        "screening": ("dites votre nom et le motif", "indiquez votre nom et le motif", "nom et la raison de votre appel"),
        "voicemail": ("laissez un message", "laisser un message", "laissez votre message", "laissez moi un message", "après le bip",
                        "après le signal",
                      "messagerie vocale", "répondeur", "boîte vocale"),
        "announcement": ("le numéro que vous avez demandé", "le numéro que vous avez composé", "n est pas attribué", "nest pas attribué",
                         "nest pas joignable", "n est pas joignable"),
        "hold": ("veuillez patienter", "restez en ligne", "ne quittez pas", "conseillers sont occupés", "conseillers sont en ligne"),
        "menu": ("tapez un", "tapez 1", "tapez deux", "tapez 2", "appuyez sur", "faites le un", "faites le 1", "menu principal"),
        "human": ("allô", "allo", "oui", "bonjour", "bonsoir", "qui est à lappareil", "cest qui"),
    },
    "zh": {
        "mailboxFull": ("信箱已满", "留言已满"),
        "screening": ("请说出您的姓名和来电原因", "请问您有什么事", "我是机主的智能助理", "语音助手", "电话秘书"),
        "voicemail": ("请留言", "请在嘀声后", "请在提示音后", "请在哔声后", "语音信箱", "语音留言"),
        "announcement": ("您拨打的", "您所拨打的", "已关机", "不在服务区", "暂时无法接通", "是空号", "已停机"),
        "hold": ("请稍候", "请不要挂机", "坐席忙", "正在为您转接"),
        "menu": ("请按", "请拨分机号", "主菜单"),
        "human": ("喂", "你好", "您好", "哪位", "哪里", "谁呀"),
    },
}  # fmt: skip

OFFERS: Final[tuple[str, ...]] = (
    "would you like to leave a message", "do you want to leave a message", "want to leave a message", "wish to leave a message",
    "can i leave a message", "could i leave a message", "did you leave a message",
    "voulez vous laisser un message", "souhaitez vous laisser un message", "désirez vous laisser un message",
)  # fmt: skip
"""Phrases of a person who takes messages for another. Mailbox phrases inside them do not count."""

_NOT_WORDS: Final = re.compile(r"[^\w\s]|_")
_OFFER: Final = re.compile(rf"\b(?:{'|'.join(map(re.escape, OFFERS))})\b")


def normalised(text: str) -> str:
    """`text` in lower case without punctuation, apostrophes removed: `Can't, please!` becomes `cant please`."""
    plain = unicodedata.normalize("NFC", text).lower().replace("'", "").replace("’", "")
    return " ".join(_NOT_WORDS.sub(" ", plain).split())


@cache
def _pattern(kind: Kind) -> re.Pattern[str]:
    """One pattern for all languages, because the callee's phone may speak another language than the playbook."""
    latin, chinese = [], list(PHRASES["zh"].get(kind, ()))
    for language, by_kind in PHRASES.items():
        if language != "zh":
            latin += [normalised(phrase) for phrase in by_kind.get(kind, ())]
    words = rf"\b(?:{'|'.join(sorted(map(re.escape, latin), key=len, reverse=True))})\b"
    return re.compile("|".join([words, *map(re.escape, chinese)]))


def matches(kind: Kind, text: str) -> list[tuple[int, int]]:
    """The spans of phrases of `kind` in the normalised `text`."""
    offers = [found.span() for found in _OFFER.finditer(text)]
    spans = [found.span() for found in _pattern(kind).finditer(text)]
    return [(start, end) for start, end in spans if not any(low <= start and end <= high for low, high in offers)]


def is_greeting(text: str) -> bool:
    """Whether the normalised `text` begins or ends with a phrase of `human`, as a person's greeting does."""
    return any(start == 0 or end == len(text) for start, end in matches("human", text))
