"""Whose turn it is: the floor, interruptions, timers."""
