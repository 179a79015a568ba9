"""Leases become Celery requests, and what became of them goes back."""
