"""What simulated vendors share: the server and its faults, one WebSocket, what is heard in a sound, and the sound of a text."""
