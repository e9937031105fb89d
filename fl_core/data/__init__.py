"""Data: sources by name, pools of records, partitions into clients, canaries, packaged assets."""
