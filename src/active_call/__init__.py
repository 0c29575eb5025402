"""active-call: answers and places phone calls over SIP trunks and holds the conversation."""

__version__ = "0.1.0"
