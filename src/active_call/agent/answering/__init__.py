"""Who has answered an outbound call: timed facts go in, verdicts come out. Pure."""
