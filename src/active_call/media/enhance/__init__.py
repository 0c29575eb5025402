"""Improvement of the callers' sound before detection and recognition: noise suppression, gain."""
