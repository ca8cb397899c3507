"""What it costs to receive a byte, measured."""

import time

from data_server.handover.receiving import receiving

BYTES = 16 << 20


def test_a_byte_costs_half_of_what_its_way_through_the_link_took_this_process() -> None:
    begun = time.process_time()
    each = receiving()
    spent = (time.process_time() - begun) * 1e6
    assert 0 < 2 * BYTES * each <= spent
