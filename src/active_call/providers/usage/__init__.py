"""What calls use of engines and vendors, and what it costs: units, meters, prices, accounts. Knows no call."""
