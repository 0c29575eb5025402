"""What the caller hears besides speech: recording, music, call progress, digits, and whether media flows at all."""
