"""Tools of MCP servers (Model Context Protocol): one connection for each server, shared by all calls."""
