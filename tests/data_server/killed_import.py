"""A user's module whose import takes 300 MiB, and is killed as the kernel kills for lack of memory."""

import os
import signal
import time

held = bytearray(b"x") * (300 << 20)
time.sleep(2)  # while the server looks at it, many times
os.kill(os.getpid(), signal.SIGKILL)
