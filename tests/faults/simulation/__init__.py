"""The real engine on real rows, with a broker, processes and a clock that a test decides about.

A :class:`~tests.faults.simulation.scenario.Scenario` says everything beforehand: what the handlers
meet, what happens in which order, and where a process dies or is stopped. So hypothesis can shrink
a failure to the few things that matter, and print them.
"""
