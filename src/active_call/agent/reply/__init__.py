"""From a text to the steps of a reply, in layers: values kept apart, reasoning, structured forms, (tags), words for the ear."""
