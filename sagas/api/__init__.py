"""What the world outside reaches by HTTP, without an account: :mod:`sagas.urls` leads here."""
