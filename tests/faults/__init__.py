"""The proof: what is killed, cut or stalled, and how every saga ends nevertheless."""
