"""The agent of a call, pure: playbooks, templates, scripts, turn-taking, tools. In: events and a model's text. Out: effects."""
