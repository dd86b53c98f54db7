"""What becomes of a request: statuses, records, the handles of users, and the journal on disk.

Here belong the facts about a job and the rules for changing them. The engine decides when they change.
"""
