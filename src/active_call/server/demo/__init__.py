"""`active-call demo`: a local server, a simulated telephone in another process, and a whole call between them."""
