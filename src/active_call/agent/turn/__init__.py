"""Who has the turn: the floor, the turn detector, interruptions, timers."""
