"""A task call becomes an entry; its key is inherited by what it calls."""
