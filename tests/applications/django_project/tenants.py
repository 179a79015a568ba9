"""Whose task it is."""


def whose(task_name, args, kwargs):
    return kwargs.get("tenant")
