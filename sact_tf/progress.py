"""What people see while they wait: lines of text at once, every few seconds, with the time that is left."""

import time


def print_line(text):
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


class Timer:
    """Says whether some seconds have passed since it last did."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.last = time.monotonic()

    def is_due(self):
        """True once after each `seconds`."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def duration(seconds):
    """Seconds as text, "3 min 05 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
