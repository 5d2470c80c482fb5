"""A shop that fulfils orders with a saga over four services."""
