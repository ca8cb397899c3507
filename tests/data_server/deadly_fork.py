"""A user's module after whose import no forked process lives: no worker can ever say that it has started."""

import os

os.register_at_fork(after_in_child=lambda: os._exit(1))
