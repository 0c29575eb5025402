"""Engines that run on this machine, each in its own process."""
