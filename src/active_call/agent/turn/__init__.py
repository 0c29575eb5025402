"""Turn-taking: the floor, the turn detector, interruptions, timers."""
