"""A private RabbitMQ, with a port mapper of its own."""

import amqp

from benchmarks.plant.servers.process import ServerProcess, binary, free_port, new_folder


URL_VARIABLE = "SAGAS_TEST_RABBITMQ_URL"


def start_rabbitmq() -> ServerProcess:
    """Start an empty broker.

    Raises:
        Unavailable: RabbitMQ is not installed.
    """
    # Debian's own wrapper on the PATH switches to a system user and loses the environment.
    program = binary("rabbitmq-server", "/usr/lib/rabbitmq/bin", package="rabbitmq-server")
    mapper = _port_mapper()
    port = free_port()
    folder = new_folder("rabbitmq")
    (folder / "enabled_plugins").write_text("[].\n")
    (folder / "environment").touch()
    (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n")
    server = ServerProcess(
        name="RabbitMQ",
        url=f"amqp://guest:guest@127.0.0.1:{port}//",
        folder=folder,
        command=[program],
        environment={
            **mapper.environment,
            # The cookie that lets Erlang nodes talk is kept in the home folder.
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"sagas{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_BASE": str(folder),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "environment"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none",
        },
        answers=lambda: _answers(port),
        companions=[mapper],
    )
    server.start()
    return server


def _port_mapper() -> ServerProcess:
    """Erlang would start one by itself, on the machine's port, and leave it behind."""
    port = str(free_port())
    mapper = ServerProcess(
        name="epmd",
        url="",
        folder=new_folder("epmd"),
        command=[binary("epmd", package="rabbitmq-server"), "-port", port, "-address", "127.0.0.1"],
        environment={"ERL_EPMD_PORT": port, "ERL_EPMD_ADDRESS": "127.0.0.1"},
        answers=lambda: True,
    )
    mapper.start()
    return mapper


def _answers(port: int) -> bool:
    connection = amqp.Connection(f"127.0.0.1:{port}", connect_timeout=2, read_timeout=2)
    try:
        connection.connect()
    except (OSError, amqp.AMQPError):
        return False
    connection.close()
    return True
