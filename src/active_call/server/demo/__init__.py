"""`active-call demo`: a server here, a simulated telephone in another process, and a whole call between them."""
