"""Proof, by ambition: unit, integration, acceptance, faults."""
