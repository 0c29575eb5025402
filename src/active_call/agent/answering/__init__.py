"""Who has answered an outbound call: facts with times enter, verdicts leave. Pure."""
