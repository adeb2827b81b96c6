"""An MCP server over HTTP: a session lives until its client ends it."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("tests")


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


# Without the timeout and the limit that it has by default.
app = server.streamable_http_app(session_idle_timeout=None, max_sessions=None)
