"""The benches of `active-call bench`: the media bench, the SIP bench and the whole-server bench."""
