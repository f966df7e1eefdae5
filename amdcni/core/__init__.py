"""The pure core: types, decisions and plans.  No sockets, files, environment, clock or logging."""
