"""Search: a query in, the chunks that answer it out. One room for each question; `searcher` puts them together."""
