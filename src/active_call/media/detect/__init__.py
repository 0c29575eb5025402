"""What is heard: speech, DTMF digits in the sound, call progress tones."""
