"""The queue folder of the demo: whole messages, whatever dies around them."""

import json
from pathlib import Path
from threading import Thread

from kombu import Connection, Exchange, Queue, transport

from config import queue_folder


def connect(folder: Path) -> Connection:
    queue_folder.install()
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "polling_interval": 0.01,
        "control_folder": str(folder / "control"),
    }
    return Connection("filesystem://localhost/", transport_options=options)


def test_the_queue_folder_takes_the_place_of_a_transport_that_was_used_before() -> None:
    transport.TRANSPORT_ALIASES["filesystem"] = "kombu.transport.filesystem:Transport"
    vars(transport)["_transport_cache"].pop("filesystem", None)
    Connection("filesystem://localhost/").transport  # noqa: B018
    queue_folder.install()
    assert isinstance(Connection("filesystem://localhost/").transport, queue_folder.Transport)


def test_messages_arrive_in_order(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("first")
        for number in range(20):
            queue.put({"number": number})
        for number in range(20):
            message = queue.get(timeout=60)
            assert message.payload == {"number": number}
            message.ack()
        queue.close()


def test_half_a_message_of_a_dead_writer_is_never_read(tmp_path: Path) -> None:
    (tmp_path / "1b4e28ba2fa111d2883f0016d3cca427").write_text('{"body": "ha')
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("second")
        queue.put("whole")
        assert queue.get(timeout=60).payload == "whole"
        assert queue.qsize() == 0
        queue.close()


def test_bindings_made_at_once_are_all_kept(tmp_path: Path) -> None:
    exchange = Exchange("orders", type="direct")

    def bind(name: str) -> None:
        with connect(tmp_path) as connection:
            Queue(name, exchange, routing_key=name)(connection.default_channel).declare()

    threads = [Thread(target=bind, args=(f"q{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = json.loads((tmp_path / "control" / "orders.exchange").read_text())
    assert sorted(queue for _, _, queue in table) == [f"q{number}" for number in range(8)]
