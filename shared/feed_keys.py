"""The keys of a config's `feed` section, which only we have: everything about each, in one place.

`FEED_KEYS` gives the defaults, the checks, the end of ``python -m trainer --help`` and the table in docs/serving.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from shared.keys import COUNT, MIB, SECONDS, SIZE, SWITCH, Values, one_of


@dataclass(frozen=True)
class FeedKey:
    """One key.

    Attributes:
        meaning: what it sets, as the end of a table's line.
        automatic: what None means, where it is the default.
    """

    name: str
    values: Values
    default: Any
    meaning: str
    automatic: str = ""

    @property
    def default_text(self) -> str:
        return self.automatic or repr(self.default)


FEED_KEYS = (
    FeedKey("slots", COUNT.or_none(), None, "slots of shared memory, one batch each", "workers + 3"),
    FeedKey("credits", COUNT, 2, "how many batches the trainer may hold at a time"),
    FeedKey(
        "max_image_size",
        SIZE.or_none(),
        None,
        "the largest padded batch; a slot has room for it",
        "from the pipeline's transforms",
    ),
    FeedKey(
        "image_dtype",
        one_of("uint8", "float32"),
        "uint8",
        "what an image's numbers are: a pipeline's floats of 0..255 (`PhotoMetricDistortion`, `to_float32`) are "
        "rounded to uint8, or with float32 delivered as they are, for four times the memory",
    ),
    FeedKey("max_boxes", COUNT.or_none(), None, "the most boxes of an image", "the most that an annotated image has"),
    FeedKey("checksum", SWITCH, True, "whether the payload of every batch is checksummed and checked"),
    FeedKey(
        "on_bad_sample",
        one_of("stop", "replace"),
        "stop",
        "at an image that is unreadable or kills workers: stop the stream, or replace it by the next sample",
    ),
    FeedKey(
        "worker_memory",
        MIB,
        1024,
        "what a worker may hold between two batches; a worker that holds more is replaced. While it makes a batch, it "
        "may hold that much more than planned; then it is killed and the image is blamed as for a crash",
    ),
    FeedKey(
        "image_seconds",
        SECONDS,
        600,
        "how long a worker may be at work on one image; then it is killed and the image is blamed as for a crash; "
        "0: for ever",
    ),
    FeedKey("reconnect_seconds", SECONDS, 600, "how long a trainer waits for an external data server that went away"),
    FeedKey(
        "linger_seconds",
        SECONDS,
        60,
        "how long an external data server keeps the stream of a trainer that was killed, to serve the next one at once",
    ),
)
FEED_NAMES = tuple(key.name for key in FEED_KEYS)


def with_defaults(feed: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all keys; those that `feed` lacks have their defaults."""
    return {**{key.name: key.default for key in FEED_KEYS}, **feed}


def check_feed(feed: Mapping[str, Any]) -> None:
    """Raises UserError for the first wrong value of a `feed` that has all keys."""
    for key in FEED_KEYS:
        key.values.check(f"config key 'feed.{key.name}'", feed[key.name])


def help_text() -> str:
    """The keys as the end of a command's help."""
    lines = ["keys of the config's feed section (--cfg-options feed.KEY=VALUE):"]
    for key in FEED_KEYS:
        text = f"{key.meaning} ({f'{key.values.unit}; ' if key.values.unit else ''}default: {key.default_text})"
        first, *more = wrap(text, 90)
        lines += [f"  {key.name:18}{first}", *(f"{'':20}{line}" for line in more)]
    return "\n".join(lines)


def markdown() -> str:
    """The keys as the table of docs/serving.md."""
    rows = ["| Key | Value | Unit | Default | Meaning |", "| --- | --- | --- | --- | --- |"]
    for key in FEED_KEYS:
        default = key.automatic or f"`{key.default!r}`"
        rows.append(f"| `feed.{key.name}` | {key.values.words} | {key.values.unit} | {default} | {key.meaning} |")
    return "\n".join(rows) + "\n"
