"""Each contender's own code: five no-op steps in its idiom, and how a saga is started.

What is here runs in the contender's environment, which may have nothing of this project's
dependencies but the client of Redis.
"""
