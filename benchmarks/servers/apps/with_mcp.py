"""An MCP server over HTTP: a session lives until its client ends it."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


app = server.streamable_http_app()
