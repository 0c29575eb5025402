"""Trunks: policies, limits, the outbound guard, health."""
