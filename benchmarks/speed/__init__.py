"""How fast five steps run after each other, here and on what people use instead.

:mod:`~benchmarks.speed.compare` lets all contenders take turns, round by round, and prints ratios
within a round; :mod:`~benchmarks.speed.growth` lets the tables, the sagas and the workers grow. Each
contender has servers, workers and a client of its own (:mod:`~benchmarks.speed.system`), and all of
them report to the same ledger, in the same way (:mod:`~benchmarks.speed.applications.ledger`).
"""
