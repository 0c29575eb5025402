"""The engines of a call: selected by its options and its playbook, taken into use, and changed during the call.

Options and the requests of a playbook or a program enter; recognition streams for `speech_input` leave, the voice of `speech_output`, and
facts for the record. It knows providers only by their interfaces. The recogniser's reports are posted into the call's mailbox.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, ConfigError
from active_call.base.trust import Trust
from active_call.call.conversation.turn_taking import proposal_of
from active_call.call.dependencies import CallDependencies
from active_call.call.items import ForAgent, RecogniserFailed
from active_call.call.opening.options import SpeechChoice, choose_speech
from active_call.call.ports import CallPorts
from active_call.call.shared_state import CallState
from active_call.call.speech.other_voices import heard_in
from active_call.call.speech.speech_input import SpeechInput, open_recognition
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.speech.turn_audio import TurnAudio
from active_call.contract import events
from active_call.contract.options import NO_RECOGNISER, AsrOption, CallOption
from active_call.providers.base import ChatModel, RealtimeModel, RecognitionStream, SpeechToText, TextToSpeech
from active_call.providers.turn.judge import TurnJudge
from active_call.providers.usage.token_usage import MeteredChatModel


class ConversationEngines(Struct, frozen=True):
    """The engines of one conversation: a realtime model, or a recogniser and a chat model, each optional."""

    synthesiser: TextToSpeech
    recogniser: SpeechToText | None = None
    responder: ChatModel | None = None
    realtime: RealtimeModel | None = None


class CallEngines:
    """The engines of one call."""

    def __init__(
        self,
        state: CallState,
        ports: CallPorts,
        dependencies: CallDependencies,
        speech_input: SpeechInput,
        speech_output: SpeechOutput,
        turn_audio: TurnAudio,
    ) -> None:
        self._state = state
        self._ports = ports
        self._dependencies = dependencies
        self._speech_input = speech_input
        self._speech_output = speech_output
        self._turn_audio = turn_audio

    # -- for one conversation

    def choose(
        self, playbook: Playbook | None, option: CallOption, choice: SpeechChoice, trust: Trust, *, own_model: ChatModel | None = None
    ) -> ConversationEngines:
        """Select the engines of a conversation. A realtime model replaces recogniser and model; the synthesiser then speaks other texts of
        the call.

        If the playbook asks for a realtime model that is not installed, an `error` event says so. Raises ConfigError.
        """
        engines, synthesiser = self._dependencies.engines, self._dependencies.engines.get_synthesiser(choice.tts, trust)
        wanted = option.realtime if playbook is not None and playbook.option.realtime is not None and playbook.script is None else None
        if wanted is not None and own_model is None:
            try:
                return ConversationEngines(synthesiser, realtime=engines.get_realtime(wanted, trust))
            except ConfigError as error:
                self._ports.emit(events.Error(sender="realtime", error=f"{error}; the call uses recogniser, model and synthesiser instead"))
        responder: ChatModel | None = None
        if own_model is not None:
            responder = MeteredChatModel(own_model)
        elif choice.llm is not None:
            responder = engines.get_responder(choice.llm, trust)
        return ConversationEngines(synthesiser, self._recogniser_of(choice.asr, trust), responder)

    def take(self, chosen: ConversationEngines, choice: SpeechChoice, *, has_own_model: bool = False) -> None:
        """Speak with these from now on, and note them for the record. Recognition is opened separately (`open_recognition`)."""
        state = self._state
        state.is_realtime = chosen.realtime is not None
        state.hears_freely = chosen.recogniser is not None and chosen.recogniser.capabilities.free_speech
        self._choose_turn_judge(None if state.is_realtime else choice)
        state.says_clauses = chosen.synthesiser.capabilities.streaming_text
        self._note(choice, chosen, has_own_model)
        self._speech_output.use(None, chosen.synthesiser)
        self._speech_input.set_end_of_turn(choice.end_of_turn_ms)

    def _note(self, choice: SpeechChoice, engines: ConversationEngines, has_own_model: bool) -> None:
        """Note for the record which engines the call uses, and why."""
        if engines.realtime is not None:
            self._state.facts.engines = {"realtime": {"provider": engines.realtime.name, "reason": "realtime.provider"}}
            self._ports.log.info("engines", extra={"engines": [f"realtime: {engines.realtime.name}"]})
            return
        llm = None if has_own_model else choice.llm
        chosen = self._dependencies.engines.selection(choice.asr, choice.tts, llm, self._state.trust)
        facts = {selection.section: selection.as_facts() for selection in chosen}
        if has_own_model:
            facts["llm"] = {"provider": "program", "reason": "given by the program"}
        self._state.facts.engines = facts
        self._ports.log.info("engines", extra={"engines": [str(selection) for selection in chosen]})

    def _choose_turn_judge(self, choice: SpeechChoice | None) -> None:
        """Select the turn model if one is configured. If it is missing, this is reported, and turns are detected without it.

        None: a realtime model detects turns itself.
        """
        judge: TurnJudge | None = None
        if choice is not None and choice.turn.kind == "smart-turn":
            try:
                judge = self._dependencies.engines.get_turn_judge(choice.turn.model)
            except ConfigError as error:
                self._ports.emit(events.Error(sender="eou", error=str(error)))
        self._state.has_turn_judge = judge is not None
        number, post = self._state.agent_number, self._ports.post
        self._turn_audio.use(judge, lambda answer: post(ForAgent(answer, number)))

    # -- recognition

    def open_recognition(self, recogniser: SpeechToText | None, language: str | None) -> RecognitionStream | None:
        """A stream whose results are posted; None without a recogniser. Raises ActiveCallError."""
        if recogniser is None:
            return None
        self._speech_input.hear_between_speech(recogniser.capabilities.between_speech)
        return open_recognition(
            recogniser,
            self._ports.post,
            lambda error: self._ports.post(RecogniserFailed(error)),
            language=language,
            on_turn=lambda event: self._ports.post(ForAgent(proposal_of(event))),
        )

    def hear_with(self, recognition: RecognitionStream | None) -> None:
        """Recognise with this from now on; None: no recognition."""
        self._ports.spawn(self._speech_input.replace(recognition), "recogniser")

    def hear_again(self, choice: SpeechChoice) -> None:
        """A new stream during the call. If that fails, an `error` event says so, and the call continues."""
        recognition: RecognitionStream | None = None
        try:
            recognition = self.open_recognition(self._recogniser_of(choice.asr, self._state.trust), choice.asr.language)
        except ActiveCallError as error:
            self._ports.emit(events.Error(sender="asr", error=str(error)))
        self.hear_with(recognition)

    def switch_language(self, language: str) -> None:
        """Change the language of recognition; an `error` event if no engine supports it. A realtime model understands any language."""
        state = self._state
        if state.is_realtime:
            return
        asr = heard_in(choose_speech(state.option, state.playbook).asr, language)
        try:
            recognition = self.open_recognition(self._recogniser_of(asr, state.trust), language)
        except ActiveCallError as error:
            self._ports.emit(events.Error(sender="asr", error=f"language {language}: {error}"))
            return
        state.option = msgspec.structs.replace(state.option, asr=asr)
        heard_by = self._dependencies.engines.selection(asr, choose_speech(state.option, state.playbook).tts, None, state.trust)[0]
        state.facts.engines = {**state.facts.engines, heard_by.section: heard_by.as_facts()}
        self.hear_with(recognition)

    def _recogniser_of(self, option: AsrOption, trust: Trust) -> SpeechToText | None:
        """None if recognition is off. Raises ConfigError."""
        return None if option.provider == NO_RECOGNISER else self._dependencies.engines.get_recogniser(option, trust)
