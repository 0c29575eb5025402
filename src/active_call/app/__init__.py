"""The Python API: programs that answer and place calls. `import active_call` offers it; this room is where it is made."""
