"""Dialogs and what happens inside them: INVITE, re-INVITE, UPDATE, PRACK, REFER, BYE, session timers."""
