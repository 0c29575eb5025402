"""Calls whose media is transported as binary messages of a WebSocket."""
