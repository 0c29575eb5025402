"""Simulated SIP trunks, strict as the carriers are: Twilio in both directions, Telnyx, and a PBX. See `trunk.Trunk`.

In: `Switches`, what to do. Out: calls, and named violations for everything that a carrier would punish. Shares nothing with the program
under test: its own reading of SIP (`phone_sip`), sockets and threads. RFC 3261, 3264, 3515, 4028, 4568, 7616.
"""

from active_call.testing.trunk.judging import Judge, Violation
from active_call.testing.trunk.switches import Refusal, Switches, generic_pbx, telnyx, twilio_origination, twilio_termination
from active_call.testing.trunk.trunk import Trunk

__all__ = ["Judge", "Refusal", "Switches", "Trunk", "Violation", "generic_pbx", "telnyx", "twilio_origination", "twilio_termination"]
