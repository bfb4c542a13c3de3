"""The instance domain: commands, their rules, the events that follow, and what the projections make of them.

Imports neither grpc nor protobuf nor a database driver.
"""
