"""The state that the parts of one call share: its facts, its leg, its options, its playbook and its agent."""

from __future__ import annotations

from dataclasses import dataclass, field

from active_call.agent.playbook.scenes import Playbook
from active_call.base.trust import NO_TRUST, Trust
from active_call.call.conversation.agent_runner import AgentRunner
from active_call.call.opening.options import choose_speech
from active_call.call.state import CallFacts
from active_call.contract.options import CallOption
from active_call.legs.leg import Leg


@dataclass(slots=True)
class CallState:
    """The state that the parts of one call share. The call owns it; `leg` changes when the call continues with another leg."""

    facts: CallFacts
    leg: Leg
    option: CallOption
    """The merged options: the call's own override the playbook's, which override the server's."""
    own_option: CallOption
    """The options of this call only, from its client or its handler."""
    playbook: Playbook | None = None
    given_texts: list[str] = field(default_factory=list)
    """Variables from the side that placed or accepted the call, without those that the caller or a model set later."""
    agent: AgentRunner | None = None
    """None until the call is prepared, and in a call without a playbook."""
    agent_number: int = 1
    """The number of the current or next agent: late items for an earlier agent are dropped."""
    hears_freely: bool = True
    """The recogniser understands any sentence, not only the playbook's phrases."""
    bye_headers: dict[str, str] = field(default_factory=dict)
    """Variables `X-*` set by commands: headers of our BYE."""
    says_clauses: bool = False
    """The voice accepts streamed text, clause by clause."""
    has_turn_judge: bool = False
    """A turn model is available."""
    is_realtime: bool = False
    """A speech-to-speech model gets the caller's sound instead of a recogniser."""
    trunk_keys: str = ""
    """The key set of the trunk, used if neither the call's options nor the playbook name one."""
    last_activity_at: float = 0.0
    """Monotonic seconds; the call's inactivity counts from here."""

    @property
    def is_inbound(self) -> bool:
        """The call is inbound."""
        return self.facts.direction == "inbound"

    @property
    def peer_role(self) -> str:
        """The role of our leg's peer: `caller` or `callee`."""
        return "caller" if self.is_inbound else "callee"

    @property
    def trust(self) -> Trust:
        """What this call may use in addition to what every call may: what its playbook file names, and a key set."""
        return self.trust_with(self.playbook, self.option)

    def trust_with(self, playbook: Playbook | None, option: CallOption) -> Trust:
        """The trust for another playbook and its merged options."""
        trust = (playbook.trust if playbook is not None else None) or NO_TRUST
        return trust.with_keys(option.keys or self.trunk_keys)

    @property
    def end_of_turn_ms(self) -> int:
        """Silence that ends a turn."""
        return choose_speech(self.option, self.playbook).end_of_turn_ms
