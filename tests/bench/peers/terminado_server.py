# How is terminado served? As JupyterLab does: one shell for each WebSocket, on the event loop of tornado.
#
#   terminado_server.py PORT SHELL...
import asyncio
import sys

import terminado
import tornado.web


async def main() -> None:
    manager = terminado.UniqueTermManager(shell_command=sys.argv[2:])
    pages = [(r"/websocket", terminado.TermSocket, {"term_manager": manager})]
    tornado.web.Application(pages).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
