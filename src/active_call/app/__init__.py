"""The Python API: programs that answer and place calls. `import active_call` exports it; this room implements it."""
