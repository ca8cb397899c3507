"""A user's module that takes a while to import, so that a nursery can be met while it builds."""

import time

time.sleep(1.5)
