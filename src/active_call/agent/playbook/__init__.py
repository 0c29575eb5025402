"""The playbook: its file, scenes, templates and checks."""
