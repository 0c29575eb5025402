"""The usage of engines and vendors by calls, and its cost: units, meters, prices, accounts. Knows no call."""
