"""Where events and projections are kept: the only room with SQL.

`interface` says what a store does and `folder` holds the data folder; `sqlite` opens the store that there is.
`grouping` and `cache` are what any store needs around its database and know nothing of it.
"""
