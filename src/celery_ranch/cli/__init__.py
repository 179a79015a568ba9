"""The commands: inside Celery's own (`celery -A app ranch`), and beside it (`celery-ranch`)."""
