"""Who is in the call with the caller: hold, bridges, transfers' state, attention."""
