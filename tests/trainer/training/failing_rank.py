"""``python -m trainer`` whose rank 1 raises an exception in its second turn, while rank 0 waits for its gradients."""

from trainer import __main__ as trainer
from trainer.tasks import Request, train

_run = train.run


def run(request: Request) -> int:
    from trainer.training import step

    turns, add_up = [], step.exchange

    def exchange(ranks, *words):
        turns.append(words)
        if ranks.rank == 1 and len(turns) == 2:
            raise RuntimeError("of rank 1")
        return add_up(ranks, *words)

    step.exchange = exchange
    return _run(request)


train.run = run
if __name__ == "__main__":
    trainer._program()
