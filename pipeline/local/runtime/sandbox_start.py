"""The first program in a worker's sandbox: opens the ports that the function expects, then runs its runtime client.

    python -S /…/sandbox_start.py FD PORT… -m MODULE ARGUMENT…

The sandbox has a separate network with only a loopback interface. A socket belongs to the network in which it was
created, so the listeners are created here and passed to the host over FD: the host serves 127.0.0.1 of the sandbox, and
no other process outside can connect. Imports nothing of this project.
"""

import os
import runpy
import socket
import sys
from pathlib import Path

# Variables of bubblewrap and the host, which Lambda does not set.
_HIDDEN = ("PWD", "TRANSACTION_PIPELINE_FOLDER")


def main() -> None:
    split = next(index for index, each in enumerate(sys.argv) if index > 1 and not each.isdigit())
    channel, ports, arguments = int(sys.argv[1]), sys.argv[2:split], sys.argv[split:]
    listeners = [socket.create_server(("127.0.0.1", int(port)), backlog=128) for port in ports]
    with socket.socket(fileno=channel) as host:
        socket.send_fds(host, [b"."], [listener.fileno() for listener in listeners])
    for listener in listeners:
        listener.close()
    for name in _HIDDEN:
        os.environ.pop(name, None)
    if arguments[0] != "-m":
        os.execv(sys.executable, [sys.executable, "-S", *arguments])
    # As under ``python -m``: the working directory instead of this file's folder.
    sys.path[0] = str(Path.cwd())
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
