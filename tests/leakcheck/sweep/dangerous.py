"""What a call must not be able to do, under names that say nothing of it. Where, stands in the environment."""

import os
import socket
import sys
import termios
import time

_VICTIM = os.environ.get("DANGER_FOLDER", "")
_PORT = int(os.environ.get("DANGER_PORT", "0"))
_PID = int(os.environ.get("DANGER_PID", "0"))
_TERMINAL = os.environ.get("DANGER_TERMINAL", "")


def alpha():
    os.unlink(f"{_VICTIM}/file")


def beta():
    with open(f"{_VICTIM}/file", "w") as file:
        file.write("overwritten")


def gamma():
    socket.create_connection(("127.0.0.1", _PORT), timeout=1).close()


def delta():
    other = socket.socket(socket.AF_UNIX)
    try:
        other.connect(f"{_VICTIM}/socket")
    finally:
        other.close()


def epsilon():
    os.kill(os.getppid(), 9)


def zeta():
    os.kill(_PID, 9)


def eta():
    os.kill(-1, 9)


def theta():
    with open(_TERMINAL, "w") as terminal:
        terminal.write("spoilt")


def iota():
    with open("/dev/tty", "w") as terminal:
        termios.tcsetattr(terminal, termios.TCSANOW, termios.tcgetattr(terminal))


def kappa():
    sys.exit(3)


def lamda():
    os._exit(0)


def mu():
    while True:
        pass


def nu():
    return len(bytearray(100 << 30))


def xi():
    for descriptor in range(3, 400):
        try:
            os.close(descriptor)
        except OSError:
            continue


def omicron():
    for index in range(1000):
        with open(f"filling-{index}", "wb") as file:
            file.write(bytes(1 << 24))


def pi():
    raise KeyboardInterrupt


def rho():
    os.chdir("/")
    os.environ.clear()


def sigma():
    while True:
        os.fork()


def tau():
    time.sleep(1000)


def upsilon(text: str):
    return text.upper()
