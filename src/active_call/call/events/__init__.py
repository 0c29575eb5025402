"""The events of a call: numbered log, subscriptions, the journal."""
