"""The agent's replies: a text becomes steps (`parser` has the order of the layers), and the steps are said and carried out."""
