"""HTTP: placing, listing, commanding and watching calls. Knows the call registry and the contract; nothing of SIP or media."""
