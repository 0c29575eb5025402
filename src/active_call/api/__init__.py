"""HTTP: placing, listing, commanding and watching calls. Knows the call room's directory and the contract; nothing of SIP or media."""
