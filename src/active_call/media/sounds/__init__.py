"""Sounds that are played: files, tones, hold music."""
