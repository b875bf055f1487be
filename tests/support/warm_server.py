"""Forks processes that have the large libraries imported already; `processes.py` starts it and speaks with it.

A connection is a process: the request comes with files for its stdout and stderr; the answer is its number and, once
it has ended, its status. Between this process and each forked one stands a small one that waits for it, so that
nothing here needs threads or signals. The end of stdin ends everything.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys

import smaller


def serve(listener: socket.socket) -> dict[str, object]:
    """Fork a process per connection; returns, in the forked process alone, what it shall do."""
    waiting: set[int] = set()
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [], 1.0)
        while waiting and (ended := os.waitpid(-1, os.WNOHANG)[0]):
            waiting.remove(ended)
        if sys.stdin in ready:
            break
        if listener in ready:
            connection, _ = listener.accept()
            if number := os.fork():
                waiting.add(number)
                connection.close()
            else:
                listener.close()
                return begin(connection)
    for number in waiting:
        os.killpg(number, signal.SIGKILL)
    for number in waiting:
        os.waitpid(number, 0)
    sys.exit()


def begin(connection: socket.socket) -> dict[str, object]:
    """Fork the process itself and return in it; the one that waits for it never returns."""
    os.setsid()
    data, files, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    if child := os.fork():
        connection.sendall(child.to_bytes(4, "little"))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(status.to_bytes(4, "little", signed=True))
        os._exit(0)
    connection.close()
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return json.loads(data)


if __name__ == "__main__":
    smaller.change_on_import(smaller.SMALLER)
    address, *modules = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        for module in modules:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # what is shared stays shared
        listener.listen(16)
        print("listening", flush=True)
        request = serve(listener)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["-c", *request["words"]]
    code = request["code"]
    for name in ("address", "modules", "module", "listener", "request", "serve", "begin", "name"):
        globals().pop(name, None)
    exec(compile(code, "<command>", "exec"))
