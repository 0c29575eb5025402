"""Calls over SIP: the gateway to the endpoint, one leg a call."""
