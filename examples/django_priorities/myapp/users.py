"""On whose behalf a task runs."""


def whose(task_name, args, kwargs):
    """Return the user that a task is for, or the site itself."""
    user_id = args[0] if args else kwargs.get("user_id")
    return "site" if user_id is None else f"user-{user_id}"
