"""The parties of the call besides the caller: hold, bridges, the state of transfers, attention."""
