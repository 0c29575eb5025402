"""Calls that carriers stream to us: the WebSocket, who may open it, and the document that tells a carrier to do so."""
