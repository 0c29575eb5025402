"""Collecting input of the caller: digits by keypad or voice, checked, asked for again."""
