"""The contract with clients: commands in, events out, options for a call.

Values only. `wire` is the one module that knows their JSON.
"""
