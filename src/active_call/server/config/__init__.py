"""The config file: tables, values, checks, errors."""
