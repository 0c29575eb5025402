"""Vendors on loopback: servers that speak a vendor's documented protocol over real HTTP and WebSocket, and refuse what the vendor refuses.

`stt`, `tts`, `chat` and `realtime` have one file per vendor. `wire` has the shared parts: the server and its faults, the WebSocket, and the
recognition of words in simulated speech. They test adapters and contain no vendor code.
"""
