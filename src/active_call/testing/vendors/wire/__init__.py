"""The shared parts of simulated vendors: the server and its faults, the WebSocket, simulated recognition, and simulated synthesis."""
