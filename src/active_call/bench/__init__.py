"""What `active-call bench` runs: the media bench and the SIP bench."""
