"""Speech of both sides: recognition, synthesis, cached speech."""
