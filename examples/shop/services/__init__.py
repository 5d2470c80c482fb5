"""Other companies' systems, as the shop sees them through their client libraries.

Each call commits on its own, carries an idempotency key, and can be repeated: the same key gives
the first result again and never a second effect. Undoing can be repeated too, and is safe when
there is nothing to undo.
"""
