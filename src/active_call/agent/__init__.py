"""The agent of a call, pure: playbooks, templates, scripts, turn-taking, tools. Events and model text go in, effects come out."""
