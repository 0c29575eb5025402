"""An MCP server for tests: over stdio, or over HTTP at the port that it is given."""

import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("echo")


@server.tool(description="Says what it is told.")
def echo(text: str) -> str:
    return f"{text} {os.environ.get('ECHO', '')}".strip()


@server.tool()
def fail() -> str:
    raise ToolError("the shelf is empty")


@server.tool()
def die() -> str:
    os._exit(1)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
