"""A trainer as its stream sees it: where to reach it, and what it has sent and been given.

It lives as long as the lifeline; a stream may outlive it and serve another.
"""

from __future__ import annotations

from shared.digest import rolled
from shared.errors import UserError
from shared.link import Channel, ChannelClosed, ChannelFull
from shared.messages import Batch, Message, MessageError, Predictions

MAX_PREDICTION_BYTES = 1 << 30  # held for one evaluation


class Client:
    """The trainer that reads a stream.

    Attributes:
        identity: its ZeroMQ identity.
        digest: the rolling digest of all that it has been given, since the beginning of the stream.
        ended: it has been sent the end of the stream.
        deaf: it does not read what it is sent.
    """

    def __init__(self, identity: bytes, lifeline: Channel, digest: str) -> None:
        self.identity = identity
        self.lifeline = lifeline
        self.digest = digest
        self.ended = False
        self.deaf = False
        self._predictions: list[tuple[Predictions, bytes]] = []

    def tell(self, message: Message, *descriptors: int) -> None:
        """Sends on the lifeline. A dead client does not hear it; its EOF is in the poll loop."""
        try:
            self.lifeline.send(message, *descriptors)
        except ChannelFull:
            self.deaf = True
        except ChannelClosed:
            pass

    def was_given(self, batch: Batch) -> None:
        self.digest = rolled(self.digest, batch.step, batch.digest, batch.valid)

    def keep(self, message: Predictions, frames: list[bytes]) -> None:
        """Holds predictions until they are evaluated.

        Raises:
            MessageError: not exactly one frame came with them.
            UserError: more than `MAX_PREDICTION_BYTES` would be held.
        """
        if len(frames) != 1:
            raise MessageError(f"PREDICTIONS come with one frame, not {len(frames)}")
        self._predictions.append((message, frames[0]))
        if sum(len(payload) for _, payload in self._predictions) > MAX_PREDICTION_BYTES:
            raise UserError(
                f"more than {MAX_PREDICTION_BYTES >> 20} MiB of predictions for one evaluation; "
                "lower test_cfg.rcnn.max_per_img or evaluate on fewer images"
            )

    def take_predictions(self) -> list[tuple[Predictions, bytes]]:
        taken, self._predictions = self._predictions, []
        return taken
