import os

from data_server.handover.predictions import read, store
from shared.layout import Layout
from shared.messages import Predictions


def test_records_come_back_in_order_and_byte_for_byte():
    records = [(Predictions(Layout.pack([("boxes", "float32", (n, 4))]).wire), os.urandom(16 * n)) for n in (3, 0, 1)]
    memory = store(records)
    assert read(memory) == [(message.layout, payload) for message, payload in records]


def test_no_records_are_no_predictions():
    assert read(store([])) == []
