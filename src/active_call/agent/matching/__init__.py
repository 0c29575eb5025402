"""What a caller said compared with what a playbook expects: pure text."""
