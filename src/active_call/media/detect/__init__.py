"""Detection in the callers' sound: speech, DTMF digits, call progress tones."""
