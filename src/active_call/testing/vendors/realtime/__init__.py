"""Vendors of speech-to-speech models on loopback, one a file."""
