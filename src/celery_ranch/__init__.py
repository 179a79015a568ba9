"""Fair scheduling for Celery: one tenant's flood no longer delays everybody else's task."""
