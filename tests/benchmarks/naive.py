"""What one writes by hand: a FastAPI route that inserts the receipt and updates its message by ORM, and commits, a request.

It does much less than Acuse: no verification, no fold, no counters. Its database is in the environment: BENCH_NAIVE_URL.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel
from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, Text, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Message(Base):
    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    provider_message_id: Mapped[str] = mapped_column(Text, unique=True)
    status: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Receipt(Base):
    __tablename__ = "receipts"
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id"), index=True)
    status: Mapped[str] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(Text)
    occurred_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Callback(BaseModel):
    provider_message_id: str
    status: str
    error_code: str | None = None
    occurred_at: datetime | None = None


engine = create_async_engine(os.environ.get("BENCH_NAIVE_URL", "postgresql+asyncpg://"), pool_size=20, max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as opened:
        yield opened


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Makes the tables, with as many messages as Acuse has in this run."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(
            text(
                "INSERT INTO messages (provider_message_id, status, updated_at) "
                "SELECT :prefix || lpad(n::text, 7, '0'), 'submitted', now() FROM generate_series(0, :messages - 1) AS n"
            ),
            {"prefix": os.environ["BENCH_NAIVE_PREFIX"], "messages": int(os.environ["BENCH_NAIVE_MESSAGES"])},
        )
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
            text("VACUUM ANALYZE messages")
        )
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/callbacks/{gateway}")
async def callback(gateway: str, body: Callback, database: Annotated[AsyncSession, Depends(session)]) -> Response:
    message = await database.scalar(select(Message).where(Message.provider_message_id == body.provider_message_id))
    if message is None:
        raise HTTPException(404)
    now = datetime.now(UTC)
    database.add(
        Receipt(
            message_id=message.id,
            status=body.status,
            error_code=body.error_code,
            occurred_at=body.occurred_at,
            received_at=now,
        )
    )
    message.status, message.updated_at = body.status, now
    await database.commit()
    return Response()
