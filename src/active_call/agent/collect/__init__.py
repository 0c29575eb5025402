"""Collect input of the caller: digits by keypad or voice, with validation and retries."""
