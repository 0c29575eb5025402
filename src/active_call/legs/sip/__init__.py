"""Calls over SIP: the gateway to the endpoint, and one leg per call."""
