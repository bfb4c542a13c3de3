"""The product: an instance API over gRPC, gRPC-Web and JSON, on SQLite."""
