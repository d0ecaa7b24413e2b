"""Python files and data of users: imported without harm, and known by all that they read."""
