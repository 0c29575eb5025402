"""Sound besides speech: recording, music, call progress, digits, and the media watchdog."""
