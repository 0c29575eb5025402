"""The control process's side of the media plane: the pool of media processes and their streams."""
