"""The agent's replies: a text becomes steps (`parser` documents the layers), and the steps are spoken and executed."""
