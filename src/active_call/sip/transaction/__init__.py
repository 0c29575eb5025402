"""Transactions (RFC 3261 §17) and failover between the servers of a next hop (RFC 3263)."""
