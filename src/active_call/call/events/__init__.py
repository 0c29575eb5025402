"""What a call tells: numbered events, subscriptions, the journal."""
