"""Recognition vendors over the network: one file each, and what they share (`streaming`, `sound_format`, `vendor_options`)."""
