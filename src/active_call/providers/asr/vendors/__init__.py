"""Recognition by vendors over the network: one vendor a file, and what they share (`streaming`, `sound_format`, `vendor_options`)."""
