"""The media-stream protocols of carriers: calls as messages of a WebSocket that the carrier opens. `profiles` has the differences."""
