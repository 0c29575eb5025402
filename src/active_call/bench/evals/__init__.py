"""Synthetic callers over real SIP and RTP, and the measurements of a run. `active-call eval` runs them."""
