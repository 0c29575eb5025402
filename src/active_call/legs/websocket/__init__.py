"""Calls whose sound comes and goes as binary messages of a WebSocket."""
