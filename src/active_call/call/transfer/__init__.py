"""Transfers: the machine that decides and the executor that acts."""
