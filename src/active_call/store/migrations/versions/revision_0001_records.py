"""Records of calls, the outbox of the sinks, the servers that write, and the folders that were taken over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables of call records and their indexes."""
    op.create_table(
        "calls",
        sa.Column("seq", _ID, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("direction", sa.String(16), nullable=False),
        sa.Column("call_type", sa.String(16), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("callee", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("trunk", sa.Text(), nullable=False),
        sa.Column("playbook", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ringing_at", _TIME),
        sa.Column("answered_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("hangup_reason", sa.Text(), nullable=False),
        sa.Column("hangup_by", sa.Text(), nullable=False),
        sa.Column("sip_code", sa.Integer()),
        sa.Column("error", sa.Text()),
        sa.Column("body", sa.Text()),
    )
    op.create_index("calls_by_start", "calls", ["started_at", "seq"])
    op.create_index("calls_by_state", "calls", ["state", "node"])
    op.create_index("calls_by_session", "calls", ["session_id"])
    op.create_table(
        "outbox",
        sa.Column("seq", _ID, primary_key=True, autoincrement=True),
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("error", sa.Text()),
    )
    op.create_index("outbox_by_node", "outbox", ["node", "state", "due_at"])
    op.create_table(
        "nodes",
        sa.Column("node", sa.Text(), primary_key=True),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("seen_at", _TIME, nullable=False),
    )
    op.create_table("imports", sa.Column("source", sa.Text(), primary_key=True), sa.Column("finished_at", _TIME, nullable=False))


def downgrade() -> None:
    """Drop the tables of call records, with their rows."""
    for table in ("imports", "nodes", "outbox", "calls"):
        op.drop_table(table)
