"""One tenant's flood and the others' trickle, with plain Celery and with celery-ranch."""
