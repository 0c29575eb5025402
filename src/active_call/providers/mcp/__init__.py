"""Tools of MCP servers (Model Context Protocol): one connection a server, shared by all calls."""
