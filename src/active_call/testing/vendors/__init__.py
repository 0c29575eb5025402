"""Vendors on loopback: servers that speak a vendor's documented protocol over real HTTP and WebSocket, and refuse what the vendor refuses.

`server` has the server and what can go wrong with it, `socket` one WebSocket, `hearing` the words that a simulated recogniser hears in a
sound; every other file is one vendor. They judge adapters; no vendor's code is in them.
"""
