"""Calls that carriers stream to us: the WebSocket, access control for it, and the answer document for the carrier."""
