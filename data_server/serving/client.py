"""A trainer as its stream sees it: where to reach it, and what it has sent and been given.

It lives as long as the lifeline; a stream may outlive it and serve another.
"""

from __future__ import annotations

from data_server.handover.predictions import Kept
from shared.channel import Channel, ChannelClosed, ChannelFull
from shared.digest import rolled
from shared.messages import Batch, Message, MessageError, Predictions


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
        self._predictions = Kept()

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
            UserError: there is no room for them.
        """
        if len(frames) != 1:
            raise MessageError(f"PREDICTIONS come with one frame, not {len(frames)}")
        self._predictions.append(message, frames[0])

    def take_predictions(self) -> Kept:
        """Those that have come since the last call; they are the caller's."""
        taken, self._predictions = self._predictions, Kept()
        return taken

    def leave(self) -> None:
        """It is dead, or no longer served."""
        self.lifeline.close()
        self._predictions.close()
