"""The mail agent: one confirmation for every placed order, one notice for every cancelled one."""
