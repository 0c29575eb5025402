"""Sounds to play: files, tones, hold music."""
