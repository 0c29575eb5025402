"""`active-call doctor`: checks and findings."""
