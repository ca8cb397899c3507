"""How pictures of a report are written as PNG."""

COMPRESS_LEVEL = 4  # of zlib's 9: half the time of Pillow's 6, for files 3 % larger
