"""The brain of a call, pure: playbooks, templates, scripts, turn-taking. In: events and a model's text. Out: effects."""
