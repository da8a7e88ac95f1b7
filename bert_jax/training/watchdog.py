from contextlib import contextmanager
class Watchdog:
    def __init__(self, seconds, on_hang): pass
    def __enter__(self): return self
    def __exit__(self, *a): pass
    def beat(self, what): pass
    @contextmanager
    def allowing(self, what): yield
