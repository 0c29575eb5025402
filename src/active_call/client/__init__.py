"""The Python client of a running server: HTTP, event streams and sockets. Knows the contract, and nothing of the server's own parts."""
