"""The messages between the control process and a media process."""
