"""The control process's side of the media plane: a pool of media processes and the streams in them."""
