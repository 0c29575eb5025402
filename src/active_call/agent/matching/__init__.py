"""Compare what a caller said with what a playbook expects: pure text."""
