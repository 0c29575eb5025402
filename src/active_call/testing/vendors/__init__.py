"""Vendors on loopback: servers that speak a vendor's documented protocol over real HTTP and WebSocket, and refuse what the vendor refuses.

`stt`, `tts`, `chat` and `realtime` have a file for each vendor; `wire` has what they share: the server and what can go wrong with it, one
WebSocket, the words that a simulated recogniser hears in a sound. They judge adapters; no vendor's code is in them.
"""
