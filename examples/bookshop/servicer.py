"""A servicer as one writes it for grpc.aio; nothing in it knows of the gateway."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import bookshop_pb2 as pb
import bookshop_pb2_grpc
import grpc

Context = grpc.aio.ServicerContext


class Bookshop(bookshop_pb2_grpc.BookshopServicer):
    """Keeps its books in memory."""

    def __init__(self) -> None:
        self._books: dict[str, pb.Book] = {}
        self._changed = asyncio.Condition()

    async def GetBook(self, request: pb.GetBookRequest, context: Context) -> pb.Book:
        """Find a book by its name or its ISBN."""
        found = self._books.get(request.name)
        if request.isbn:
            found = next((book for book in self._books.values() if book.isbn == request.isbn), None)
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no book {request.name or request.isbn}")
        return found

    async def ListBooks(self, request: pb.ListBooksRequest, context: Context) -> pb.ListBooksResponse:
        """List the books of a shelf, by author and price where the filter says so."""
        wanted, dearest = set(request.filter.authors), request.filter.at_most_cents
        books = [
            book
            for book in self._shelf(request.parent)
            if (not wanted or wanted & set(book.authors)) and (not dearest or book.price_cents <= dearest)
        ]
        return pb.ListBooksResponse(books=books[: request.limit or None])

    async def CreateBook(self, request: pb.CreateBookRequest, context: Context) -> pb.Book:
        """Put a book on a shelf."""
        if not request.book_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "book_id is required")
        request.book.name = f"{request.parent}/books/{request.book_id}"
        async with self._changed:
            if self._books.setdefault(request.book.name, request.book) is not request.book:
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{request.book.name} is there already")
            self._changed.notify_all()
        return request.book

    async def UpdateBook(self, request: pb.UpdateBookRequest, context: Context) -> pb.Book:
        """Change the fields that the mask names."""
        book = await self.GetBook(pb.GetBookRequest(name=request.book.name), context)
        request.update_mask.MergeMessage(request.book, book, replace_repeated_field=True)
        return book

    async def WatchBooks(self, request: pb.WatchBooksRequest, context: Context) -> AsyncIterator[pb.Book]:
        """Send the books of a shelf, and then new ones as they come."""
        for sent in itertools.count() if not request.limit else range(request.limit):
            async with self._changed:
                while len(self._shelf(request.parent)) <= sent:
                    await self._changed.wait()
            yield self._shelf(request.parent)[sent]

    async def ImportBooks(
        self, requests: AsyncIterator[pb.CreateBookRequest], context: Context
    ) -> pb.ImportBooksResponse:
        """Put many books on shelves."""
        created = [await self.CreateBook(request, context) async for request in requests]
        return pb.ImportBooksResponse(imported=len(created))

    async def Ask(self, requests: AsyncIterator[pb.Question], context: Context) -> AsyncIterator[pb.Answer]:
        """Answer each question as it comes."""
        async for question in requests:
            books = [book.title for book in self._books.values() if question.text.lower() in book.title.lower()]
            yield pb.Answer(text=", ".join(books) or "Nothing.")

    def _shelf(self, parent: str) -> list[Any]:
        return [book for name, book in self._books.items() if name.startswith(f"{parent}/books/")]
