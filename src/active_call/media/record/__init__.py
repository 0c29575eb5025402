"""Recordings: the tap in the tick, the recorder process, file formats."""
