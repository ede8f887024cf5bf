"""The processes of a run on several hosts: how they find each other, agree and share.

What a user's own program calls is here.
"""

from aaejax.runs.hosts.processes import HostOptions, idle, start

__all__ = ["HostOptions", "idle", "start"]
