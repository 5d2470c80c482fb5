"""A trip is booked: flights and rooms, an insurance, a payment by another team, tickets."""
