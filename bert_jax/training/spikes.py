class LossSpikes:
    def __init__(self, state=None): self.state = state or {}
    def observe(self, step, loss): return None
