"""Accounts of vendors whose recognition and synthesis share one: servers, where to create a key, and how requests carry it or are signed.
"""
