"""`active-call doctor`: checks and what they find."""
