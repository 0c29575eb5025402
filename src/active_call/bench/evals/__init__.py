"""Spoken callers over real SIP and RTP, and what a run of them measures. `active-call eval` runs them."""
