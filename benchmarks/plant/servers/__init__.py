"""The real parts: private servers on free loopback ports, for as long as the tests run.

Binaries come from what the machine has installed. ``SAGAS_TEST_POSTGRES_URL``,
``SAGAS_TEST_REDIS_URL`` and ``SAGAS_TEST_RABBITMQ_URL`` name running servers to use instead.
"""
