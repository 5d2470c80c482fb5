"""Short times for workers whose test only waits for them; what is measured has the defaults."""

QUICK = {
    "LEASE_SECONDS": 4.0,
    "LEASE_RENEWAL_SECONDS": 0.5,
    "SUSPECT_LEASE_SECONDS": 1.5,
    "RESEND_SECONDS": 3.0,
    "RESEND_MAX_SECONDS": 6.0,
    "BROKER_BACKOFF_SECONDS": 1.0,
}
