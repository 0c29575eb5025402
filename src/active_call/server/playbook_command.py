"""`active-call playbook …`."""

import typer

playbook_app = typer.Typer(help="Work with playbooks.")
