"""A pool of processes behind a line protocol: a number comes in, each worker computes."""

import multiprocessing
import socket
import sys

kept: list[bytearray] = []


def leak(number: int) -> int:
    kept.append(bytearray(1000))  # the leak
    return number


def mended(number: int) -> int:
    kept[:] = [bytearray(1000)]
    return number


if __name__ == "__main__":
    work = {b"leak": leak, b"mended": mended}
    with (
        multiprocessing.get_context(sys.argv[2]).Pool(2) as pool,
        socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening,
    ):
        while True:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    pool.map(work[line.strip()], range(2), chunksize=1)
                    connection.sendall(b"done\n")
